import { type ContinuationSeal, isSealedPart } from './continuation-seal.ts';
import type { GenerationRequest, Message } from './generation.ts';
import type { Model } from './model.ts';

/**
 * Returns the model with sealed continuations in its requests and answers. Drops continuations that can't be opened, and
 * those of answers whose caller doesn't get them.
 */
export function sealContinuations(model: Model, seal: ContinuationSeal): Model {
  return {
    ...model,
    async *generate(request, call) {
      const { tenant, omitsContinuations = false } = request;
      const messages = await openMessages(request, seal);
      // Only the items of OpenAI's responses have continuations in the caller's own form.
      const native = request.original?.protocol === 'responses' ? await openNative(request, seal) : undefined;
      let text = '';
      for await (const event of model.generate({ ...request, ...native?.opened, messages }, call)) {
        if (event.type === 'native') {
          yield native === undefined ? event : await native.sealer.sealEvent(event);
          continue;
        }
        if (event.type !== 'reasoningEnd') {
          text = event.type === 'reasoning' ? text + event.text : '';
          yield event;
          continue;
        }
        const { continuation, ...end } = event;
        yield continuation === undefined || omitsContinuations
          ? end
          : { ...end, continuation: await seal.seal({ text, continuation }, tenant) };
        text = '';
      }
    },
  };
}

async function openNative(request: GenerationRequest, seal: ContinuationSeal) {
  return (await import('./sealed-items.ts')).openRequest(request, seal);
}

/** Opens the continuations in messages. The code is loaded with the first one. */
async function openMessages(
  { messages, tenant }: GenerationRequest,
  seal: ContinuationSeal,
): Promise<readonly Message[]> {
  const isSealed = messages.some(({ role, content }) => role === 'assistant' && content.some(isSealedPart));
  return isSealed ? (await import('./sealed-messages.ts')).openMessages(messages, seal, tenant) : messages;
}
