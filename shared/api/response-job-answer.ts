import { LambentError } from '../core/errors.ts';
import type { NativeResponse } from '../openai/responses/native.ts';
import { ResponseOutput } from '../openai/responses/output.ts';
import {
  type EncodeResponseOptions,
  endStatusFor,
  finishedResponse,
  inProgressResponse,
} from '../openai/responses/response.ts';
import { createItemIdGenerator } from '../openai/responses/stored-items.ts';
import { missingFinishError } from '../wire/sse.ts';
import { addSummaryUsage } from './add-summary-usage.ts';
import type { EncodeAnswer } from './endpoints.ts';
import { isResponsesBody } from './job-content.ts';

/** Encodes a model's events as the output of a job of `/v1/responses`, and logs the events of its stream. */
export const answerResponse: EncodeAnswer = async (events, { job, input, compaction, now, log }) => {
  if (!isResponsesBody(input.body)) {
    throw new LambentError('record_unreadable', `The input of ${job.id} is not a body of ${job.endpoint}`);
  }
  const seconds = () => Math.floor(now() / 1000);
  const continuations: Record<string, string> = {};
  const options: EncodeResponseOptions = {
    body: input.body,
    id: job.id,
    createdAt: Math.floor(job.createdAt / 1000),
    stored: job.stored,
    now: seconds,
    createItemId: compaction?.createItemId ?? createItemIdGenerator(job.id, job.epoch),
    ...(compaction && { compaction: compaction.item }),
    tools: input.generation.tools,
    includeLogprobs: input.generation.topLogprobs !== undefined,
    reasoningSummary: input.generation.reasoningSummary,
    includeContinuations: input.continuations ?? false,
  };
  const inProgress = inProgressResponse(options);
  const output = new ResponseOutput({
    ...options,
    emit: (event) => log?.write({ ...event }),
    recordContinuation: (itemId, continuation) => {
      continuations[itemId] = continuation;
    },
  });
  log?.write({ type: 'response.in_progress', response: inProgress });
  output.start();
  let native: NativeResponse | undefined;
  for await (const event of compaction === undefined ? events : addSummaryUsage(events, compaction.usage)) {
    if (event.type === 'native') {
      const { isLifecycleEvent, NativeResponse } = await import('../openai/responses/native.ts');
      native ??= new NativeResponse(options, true);
      const own = native.read(event.event);
      if (!isLifecycleEvent(own)) log?.write({ ...own, type: String(own['type']) });
      continue;
    }
    if (event.type !== 'finish') {
      output.add(event);
      continue;
    }
    if (native !== undefined) {
      const { answer, ...rest } = native.finish();
      return { status: endStatusFor(event.reason), output: { answer, ...rest }, usage: event.usage };
    }
    const status = endStatusFor(event.reason);
    output.end(status);
    const answer = finishedResponse(inProgress, output, event, seconds());
    return { status, output: { answer, continuations }, usage: event.usage };
  }
  throw missingFinishError();
};
