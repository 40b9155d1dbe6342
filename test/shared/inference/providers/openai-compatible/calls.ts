import { readFileSync } from 'node:fs';
import type { GenerationEvent, GenerationRequest } from '../../../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../../../shared/inference/model.ts';
import { createOpenAICompatibleModel } from '../../../../../shared/inference/providers/openai-compatible/openai-compatible.ts';
import type { OpenAICompatibleTarget } from '../../../../../shared/inference/registry.ts';
import { makeRequest } from '../../requests.ts';

/** The API key of every test's target. It must never appear in an error. */
export const KEY = 'sk-test-0123456789abcdef';

/** Returns a target with the key `env:KEY`, with the given changes. */
export function makeTarget(baseUrl: string, changes: Partial<OpenAICompatibleTarget> = {}): OpenAICompatibleTarget {
  return {
    provider: 'openai-compatible',
    model: 'upstream-model',
    weight: 1,
    maxTokensParameter: 'max_tokens',
    apiKey: 'env:KEY',
    baseUrl,
    ...changes,
  };
}

/** Creates a model behind `baseUrl`, whose generated ids are `id-0`, `id-1`… */
export function makeModel(baseUrl: string, changes: Partial<OpenAICompatibleTarget> = {}) {
  let ids = 0;
  return createOpenAICompatibleModel(makeTarget(baseUrl, changes), {
    maxOutputTokens: 1_000,
    secret: async () => KEY,
    newToolCallId: () => `id-${ids++}`,
  });
}

export interface CallOptions {
  readonly request?: Partial<GenerationRequest>;
  readonly target?: Partial<OpenAICompatibleTarget>;
  readonly streamed?: boolean;
  readonly signal?: AbortSignal;
}

/** The result of a call: all its events, and its error if it failed. */
export interface Outcome {
  readonly events: readonly GenerationEvent[];
  readonly error: unknown;
}

/** Creates a model and calls it once. */
export async function call(baseUrl: string, options: CallOptions = {}): Promise<Outcome> {
  const { request, target, streamed = true, signal = new AbortController().signal } = options;
  return collectOutcome(makeModel(baseUrl, target).generate(makeRequest(request), { signal, streamed }));
}

/** Collects the events of an answer, and its error if it failed. */
export async function collectOutcome(answer: AsyncIterable<GenerationEvent>): Promise<Outcome> {
  const events: GenerationEvent[] = [];
  try {
    for await (const event of answer) events.push(event);
    return { events, error: undefined };
  } catch (error) {
    return { events, error };
  }
}

/** Returns the error of a call that must fail with an UpstreamError. */
export function expectUpstreamError({ error }: Outcome): UpstreamError {
  if (error instanceof UpstreamError) return error;
  throw new Error(`Expected an UpstreamError, got ${String(error)}`, { cause: error });
}

/** Joins the fragments of an answer into one object, for comparison. */
export function summarize(events: readonly GenerationEvent[]) {
  const calls = events
    .filter((event) => event.type === 'toolCall')
    .map(({ index, id, name }) => ({ id, name, arguments: joinArguments(events, index) }));
  const finish = events.find((event) => event.type === 'finish');
  return {
    ...omitEmpty('reasoning', joinTexts(events, 'reasoning')),
    ...omitEmpty('text', joinTexts(events, 'text')),
    ...omitEmpty('refusal', joinTexts(events, 'refusal')),
    ...(calls.length > 0 ? { calls } : {}),
    reason: finish?.reason,
    usage: finish?.usage,
  };
}

function joinArguments(events: readonly GenerationEvent[], index: number): string {
  return events
    .map((event) => (event.type === 'toolArguments' && event.index === index ? event.fragment : ''))
    .join('');
}

function joinTexts(events: readonly GenerationEvent[], type: 'reasoning' | 'text' | 'refusal'): string {
  return events.map((event) => (event.type === type ? event.text : '')).join('');
}

function omitEmpty(name: string, text: string): Record<string, string> {
  return text === '' ? {} : { [name]: text };
}

/** Reads a recording in `test/upstreams/recordings`. */
export function readRecording(name: string): Buffer {
  return readFileSync(new URL(`../../../../upstreams/recordings/${name}.sse`, import.meta.url));
}

/** Options of the encoders of responses. */
export const RESPONSE_OPTIONS = {
  body: { model: 'alias', input: 'Hi' },
  id: 'resp_own',
  createdAt: 1,
  now: () => 2,
  createItemId: () => 'x',
  tools: [],
  includeLogprobs: false,
  reasoningSummary: false,
  includeContinuations: false,
};
