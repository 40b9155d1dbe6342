import { expect } from 'vitest';
import type { GenerationEvent } from '../../../../../shared/inference/generation.ts';
import { AnswerReader } from '../../../../../shared/inference/providers/openai-compatible/answer.ts';
import { readAnswer } from '../../../../../shared/inference/providers/openai-compatible/body.ts';
import { toUpstreamError } from '../../../../../shared/inference/providers/openai-compatible/errors.ts';
import { EVENT_STREAM } from '../../../../upstreams/reply.ts';
import { collectOutcome } from './calls.ts';

/** Checks the order that `GenerationEvent` guarantees: calls are numbered, and start before their arguments. */
export function expectOrder(events: readonly GenerationEvent[]): void {
  let started = 0;
  for (const event of events) {
    if (event.type === 'toolCall') expect(event.index).toBe(started++);
    if (event.type === 'toolArguments') expect(event.index).toBeLessThan(started);
  }
}

interface StreamOptions {
  /** Names of the request's tools. */
  readonly tools?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly streamed?: boolean;
  readonly close?: () => void;
}

/** Reads a stream that arrives in exactly these chunks, decoded as the transport does. */
export async function* readStream(
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { tools = [], headers = EVENT_STREAM, streamed = true, close = () => {} }: StreamOptions = {},
): AsyncGenerator<GenerationEvent> {
  let ids = 0;
  const response = {
    status: 200,
    headers,
    body: decodePieces(pieces),
    release() {},
    close,
  };
  const reader = new AnswerReader({ upstream: 'upstream', newId: () => `id-${ids++}`, tools: new Set(tools) });
  const wording = { callerParam: (param: string) => param, isQuoted: () => false, redact: (text: string) => text };
  for await (const events of readAnswer(response, streamed, reader, (error) => toUpstreamError(error, wording)))
    yield* events;
}

async function* decodePieces(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for await (const piece of pieces) yield decoder.decode(piece, { stream: true });
}

/** Reads a stream that must be whole. */
export async function readEvents(pieces: readonly Uint8Array[], options?: StreamOptions): Promise<GenerationEvent[]> {
  const { events, error } = await collectOutcome(readStream(pieces, options));
  if (error !== undefined) throw error;
  return [...events];
}

/** Splits the bytes at the places that exist. */
export function splitAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.filter((at) => at < bytes.length))].sort((a, b) => a - b);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index])).filter(({ length }) => length > 0);
}
