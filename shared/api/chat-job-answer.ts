import { isObject } from '../core/objects.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import { encodeChatCompletion, toCompletionOptions } from '../openai/chat/completion.ts';
import type { EncodeAnswer } from './endpoints.ts';

/** Encodes a model's events as the output of a job of `/v1/chat/completions`. */
export const answerChat: EncodeAnswer = async (events, { job, input, fingerprint }) => {
  let finish: Extract<GenerationEvent, { type: 'finish' }> | undefined;
  async function* captureFinish(): AsyncGenerator<GenerationEvent> {
    for await (const event of events) {
      if (event.type === 'finish') finish = event;
      yield event;
    }
  }
  const options = toCompletionOptions({
    id: job.id.replace(/^resp_/, ''),
    createdAt: job.createdAt,
    model: readModelName(input.body) ?? job.model,
    generation: { ...input.generation, model: job.model },
    fingerprint,
  });
  const answer = await encodeChatCompletion(captureFinish(), options);
  // This API has no incomplete status. The `finish_reason` shows whether the output was cut off.
  return { status: 'completed', output: { answer }, usage: finish?.usage };
};

/** Returns the caller's name of the model, which can be another one than that of the alias. */
function readModelName(body: unknown): string | undefined {
  return isObject(body) && typeof body['model'] === 'string' ? body['model'] : undefined;
}
