import { LambentError } from '../core/errors.ts';
import type { GenerationEvent, Usage } from '../inference/generation.ts';
import type { Router } from '../inference/router.ts';
import { isResponsesBody } from '../jobs/content.ts';
import type { EventWriter } from '../jobs/event-writer.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import { encodeChatCompletion } from '../openai/chat/completion.ts';
import { ResponseOutput } from '../openai/responses/output.ts';
import {
  type EncodeResponseOptions,
  endStatusFor,
  finishedResponse,
  inProgressResponse,
} from '../openai/responses/response.ts';
import { createItemIdGenerator } from '../openai/responses/stored-items.ts';
import { missingFinishError } from '../openai/sse.ts';

export type Generated = Awaited<ReturnType<Router['generate']>>['events'];

export interface AnswerOptions {
  readonly job: Job;
  readonly input: JobInput;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** `system_fingerprint` of a model's name. */
  readonly fingerprint: (model: string) => string;
  /** Takes the events of a streamed job. */
  readonly log: EventWriter | undefined;
}

/** A whole answer, in the words of the API that asked for it. */
export interface Answer {
  readonly status: 'completed' | 'incomplete';
  readonly output: JobOutput;
  readonly usage: Usage | undefined;
  /** Number of the stream's last event, where there is a stream. */
  readonly endSequence?: number;
}

/**
 * Waits for an answer and writes it as its endpoint does. The stream's last event is left to whoever reads it: it tells
 * how the job ended, which only the job itself can say.
 * @throws LambentError `upstream_cut` when it ends before it is whole, and whatever `events` throws
 */
export async function answerOf(events: Generated, options: AnswerOptions): Promise<Answer> {
  return options.job.endpoint === '/v1/responses' ? responseOf(events, options) : completionOf(events, options);
}

async function responseOf(events: Generated, { job, input, now, log }: AnswerOptions): Promise<Answer> {
  if (!isResponsesBody(input.body)) throw new LambentError('record_unreadable', `${job.id} was asked no response`);
  const seconds = () => Math.floor(now() / 1000);
  const continuations: Record<string, string> = {};
  const options: EncodeResponseOptions = {
    body: input.body,
    id: job.id,
    createdAt: Math.floor(job.createdAt / 1000),
    stored: job.stored,
    now: seconds,
    ids: createItemIdGenerator(job.id, job.epoch),
    logprobs: input.generation.topLogprobs !== undefined,
    reasoningSummary: input.generation.reasoningSummary,
    continuations: input.continuations ?? false,
  };
  const begun = inProgressResponse(options);
  const output = new ResponseOutput({
    ...options,
    emit: (event) => log?.write({ ...event }),
    keep: (itemId, continuation) => {
      continuations[itemId] = continuation;
    },
  });
  log?.write({ type: 'response.in_progress', response: begun });
  for await (const event of events) {
    if (event.type !== 'finish') {
      output.add(event);
      continue;
    }
    const status = endStatusFor(event.reason);
    output.end(status);
    const answer = finishedResponse(begun, output, event, seconds());
    return { status, output: { answer, continuations }, usage: event.usage };
  }
  throw missingFinishError();
}

async function completionOf(events: Generated, { job, input, fingerprint }: AnswerOptions): Promise<Answer> {
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
  // What was cut short is whole in this API: its `finish_reason` says so.
  return { status: 'completed', output: { answer }, usage: finish?.usage };
}
