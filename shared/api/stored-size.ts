import type { GenerationRequest } from '../inference/generation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import { findLongestAnswer } from '../limits/estimate.ts';
import type { StoredMaxima } from '../limits/stored-amounts.ts';
import { computeSealedBytes } from '../vault/record.ts';
import type { StorageAmount } from './storage-limits.ts';
import { createTurnItems } from './turn-items.ts';

/** Bytes of JSON for a token of an answer: twice the average of English. */
const BYTES_PER_TOKEN = 8;
/** Bytes of an answer's fields, except its text and what it repeats of its request. */
const ENVELOPE_BYTES = 4_096;
/** An answer whose request names no maximum reserves at most this share of the limit on bytes. */
const SHARE = 4n;
/** Items of an answer: most have one to three. */
const ANSWER_ITEMS = 8;

/** A request whose answer is going to be stored. */
export interface AnswerToStore {
  readonly input: JobInput;
  readonly generation: GenerationRequest;
  readonly registry: ModelRegistry;
}

/** Returns the size of a value once it is sealed. */
export function measureSealed(value: unknown): number {
  return computeSealedBytes(Buffer.byteLength(JSON.stringify(value)));
}

/** Returns the most bytes that a request and its answer are expected to have. A larger answer counts with its size once it is known. */
export function boundStored({ input, ...answer }: AnswerToStore, maxima: StoredMaxima): number {
  const inputBytes = measureSealed(input);
  // An answer repeats the request's instructions, tools and metadata.
  return 2 * inputBytes + boundAnswer(answer, maxima);
}

/** Returns the most that the turn of a request and its answer is expected to add to a conversation. */
export function boundTurn(id: string, { input, ...answer }: AnswerToStore, maxima: StoredMaxima): StorageAmount {
  const { bytes, items } = measureTurn(id, input, { answer: undefined });
  return { bytes: bytes + boundAnswer(answer, maxima), items: items + ANSWER_ITEMS };
}

/** Returns what the turn of a request and its answer adds to a conversation. */
export function measureTurn(id: string, input: JobInput, output: JobOutput): StorageAmount {
  const items = createTurnItems(id, input, output);
  return { bytes: items.reduce((sum, item) => sum + measureSealed(item), 0), items: items.length };
}

function boundAnswer({ generation, registry }: Omit<AnswerToStore, 'input'>, { bytes }: StoredMaxima): number {
  const { maxOutputTokens, model } = generation;
  if (maxOutputTokens !== undefined) return ENVELOPE_BYTES + BYTES_PER_TOKEN * maxOutputTokens;
  const longest = ENVELOPE_BYTES + BYTES_PER_TOKEN * findLongestAnswer(model, registry);
  return bytes === undefined ? longest : Math.min(longest, Number(bytes / SHARE));
}
