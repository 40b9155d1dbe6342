import { isObject } from '../core/objects.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import { encodeChatCompletion } from '../openai/chat/completion.ts';
import { findCustomTools } from '../openai/custom-tools.ts';
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
  const answer = await encodeChatCompletion(captureFinish(), {
    head: {
      id: `chatcmpl-${job.id.replace(/^resp_/, '')}`,
      created: Math.floor(job.createdAt / 1000),
      model: readModelName(input.body) ?? job.model,
      system_fingerprint: fingerprint(job.model),
    },
    customTools: findCustomTools(input.generation.tools),
    includeLogprobs: input.generation.topLogprobs !== undefined,
  });
  // This API has no incomplete status. The `finish_reason` shows whether the output was cut off.
  return { status: 'completed', output: { answer }, usage: finish?.usage };
};

/** Returns the caller's name of the model, which can be another one than that of the alias. */
function readModelName(body: unknown): string | undefined {
  return isObject(body) && typeof body['model'] === 'string' ? body['model'] : undefined;
}
