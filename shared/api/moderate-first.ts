import type { GenerationRequest } from '../inference/generation.ts';
import type { StoredItem } from '../openai/responses/stored-items.ts';
import type { GovernedOptions, GovernedRouter } from './governed-router.ts';
import { renderUntranslated } from './summary.ts';

/**
 * Moderates a request whose context is going to be summarized, if it asks for that: all of its texts and images, before a model gets
 * any of them. Returns the moderation of the request with the compacted context, which has nothing new from the caller: only its
 * answer is still to be moderated.
 * @param summarized the items that the summary is made of
 * @throws LambentError `content_filter` if the request is to be blocked, and the other errors of the router
 */
export async function moderateFirst(
  request: GenerationRequest,
  summarized: readonly StoredItem[],
  router: GovernedRouter,
  call: GovernedOptions,
): Promise<Pick<GenerationRequest, 'moderation'>> {
  const { moderation } = request;
  if (moderation === undefined) return {};
  const text = renderUntranslated(summarized);
  const others = text === '' ? [] : [{ role: 'user' as const, content: [{ type: 'text' as const, text }] }];
  const alone = {
    ...request,
    messages: [...request.messages, ...others],
    moderation: { ...moderation, output: 'skip' as const, isAlone: true as const },
  };
  const { events } = await router.generate(alone, call);
  for await (const event of events) {
    if (event.type !== 'finish' || event.moderation === undefined) continue;
    return { moderation: { ...moderation, input: 'skip', inputResult: event.moderation.input } };
  }
  throw new Error('A moderated request has no result');
}
