import type { GenerationEvent } from '../inference/generation.ts';
import { encodeChatCompletion } from '../openai/chat/completion.ts';
import type { EncodeAnswer } from './endpoints.ts';

/** Encodes the answer to a job of `/v1/chat/completions`. */
export const answerChat: EncodeAnswer = async (events, { job, input, fingerprint }) => {
  let finish: Extract<GenerationEvent, { type: 'finish' }> | undefined;
  async function* watched(): AsyncGenerator<GenerationEvent> {
    for await (const event of events) {
      if (event.type === 'finish') finish = event;
      yield event;
    }
  }
  const answer = await encodeChatCompletion(watched(), {
    head: {
      id: `chatcmpl-${job.id.replace(/^resp_/, '')}`,
      created: Math.floor(job.createdAt / 1000),
      model: job.model,
      system_fingerprint: fingerprint(job.model),
    },
    logprobs: input.generation.topLogprobs !== undefined,
  });
  // This API has no incomplete answers: the `finish_reason` of one that was cut short says so.
  return { status: 'completed', output: { answer }, usage: finish?.usage };
};
