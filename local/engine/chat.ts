import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { formatClosingEvents, formatCompletion, formatOpeningEvent, formatTokenEvents } from './chat-answer.ts';
import { type ChatRequest, countTokens, hashBlocks, renderPrompt } from './chat-request.ts';
import type { Engine } from './engine.ts';
import { HttpError } from './http-error.ts';
import { composeReply } from './reply.ts';
import type { ObserveRequest } from './request-observer.ts';

/** vLLM's default. */
export const BLOCK_TOKENS = 16;

export interface ChatOptions {
  readonly engine: Engine;
  readonly contextTokens: number;
  readonly observe?: ObserveRequest | undefined;
}

/**
 * Answers a chat completion at the engine's speed. If the client disconnects before the end, the engine stops the
 * request at once.
 * @throws HttpError if the prompt is longer than the context
 */
export function handleChat(
  request: ChatRequest,
  response: ServerResponse,
  { engine, contextTokens, observe }: ChatOptions,
): void {
  const prompt = renderPrompt(request);
  const promptTokens = countTokens(prompt);
  if (promptTokens >= contextTokens) throw contextLengthError(contextTokens, promptTokens);
  const observer = observe?.(request);
  const reply = composeReply(request, contextTokens - promptTokens, observer?.signature);
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: request.model };
  const isStreamed = request.stream === true;
  const wantsUsage = request.stream_options?.include_usage === true;
  const measureUsage = () => ({
    promptTokens,
    cachedTokens: generation.work.cachedTokens,
    completionTokens: reply.tokens.length,
  });
  let sent = 0;
  const stream = (count: number): void => {
    const opening = sent === 0 ? formatOpeningEvent(head) : '';
    const events = `${opening}${formatTokenEvents(head, reply.tokens.slice(sent, count))}`;
    sent = count;
    if (count < reply.tokens.length) response.write(events);
    else response.end(`${events}${formatClosingEvents(head, reply, wantsUsage ? measureUsage() : undefined)}`);
  };
  const send = (count: number): void => {
    observer?.onWork(generation.work);
    if (isStreamed) stream(count);
    else sendJson(response, 200, formatCompletion(head, reply, measureUsage()));
  };
  const generation = engine.start(
    {
      promptTokens,
      outputTokens: reply.tokens.length,
      priority: request.priority,
      blocks: hashBlocks(prompt, BLOCK_TOKENS, request.model, request.cache_salt ?? ''),
    },
    { streamed: isStreamed, onTokens: send },
  );
  response.once('close', () => {
    generation.cancel();
    observer?.onClose(generation.work, response.writableEnded);
  });
  if (!isStreamed) return;
  // Stock engines also send the status before the first token: 200 means that the request is valid.
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.flushHeaders();
}

function contextLengthError(contextTokens: number, promptTokens: number): HttpError {
  const limit = `This model's maximum context length is ${contextTokens} tokens.`;
  const message = `${limit} However, your request has ${promptTokens} input tokens.`;
  return new HttpError(400, 'BadRequestError', message);
}

/** Sends a complete response. */
export function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
