import { readFileSync } from 'node:fs';
import type { GenerationEvent, GenerationRequest } from '../../../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../../../shared/inference/model.ts';
import { createOpenAICompatibleModel } from '../../../../../shared/inference/providers/openai-compatible/openai-compatible.ts';
import type { OpenAICompatibleTarget } from '../../../../../shared/inference/registry.ts';
import { makeRequest } from '../../requests.ts';

/** The key that every test's target sends; it must never be seen in an error. */
export const KEY = 'sk-test-0123456789abcdef';

export function aTarget(baseUrl: string, changes: Partial<OpenAICompatibleTarget> = {}): OpenAICompatibleTarget {
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

/** A model behind `baseUrl` whose generated ids count up: `id-0`, `id-1`… */
export function aModel(baseUrl: string, changes: Partial<OpenAICompatibleTarget> = {}) {
  let ids = 0;
  return createOpenAICompatibleModel(aTarget(baseUrl, changes), {
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

/** What came of a call: all events, and the error that ended it if one did. */
export interface Outcome {
  readonly events: readonly GenerationEvent[];
  readonly error: unknown;
}

/** Calls a new model once. */
export async function call(baseUrl: string, options: CallOptions = {}): Promise<Outcome> {
  const { request, target, streamed = true, signal = new AbortController().signal } = options;
  return outcomeOf(aModel(baseUrl, target).generate(makeRequest(request), { signal, streamed }));
}

export async function outcomeOf(answer: AsyncIterable<GenerationEvent>): Promise<Outcome> {
  const events: GenerationEvent[] = [];
  try {
    for await (const event of answer) events.push(event);
    return { events, error: undefined };
  } catch (error) {
    return { events, error };
  }
}

/** The error of a call that has to fail with one of ours. */
export function upstreamErrorOf({ error }: Outcome): UpstreamError {
  if (error instanceof UpstreamError) return error;
  throw new Error(`Expected an UpstreamError, got ${String(error)}`, { cause: error });
}

/** An answer as a reader sees it, whatever pieces it came in. */
export function summaryOf(events: readonly GenerationEvent[]) {
  const calls = events
    .filter((event) => event.type === 'toolCall')
    .map(({ index, id, name }) => ({ id, name, arguments: joined(events, index) }));
  const finish = events.find((event) => event.type === 'finish');
  return {
    ...present('reasoning', texts(events, 'reasoning')),
    ...present('text', texts(events, 'text')),
    ...present('refusal', texts(events, 'refusal')),
    ...(calls.length > 0 ? { calls } : {}),
    reason: finish?.reason,
    usage: finish?.usage,
  };
}

function joined(events: readonly GenerationEvent[], index: number): string {
  return events
    .map((event) => (event.type === 'toolArguments' && event.index === index ? event.fragment : ''))
    .join('');
}

function texts(events: readonly GenerationEvent[], type: 'reasoning' | 'text' | 'refusal'): string {
  return events.map((event) => (event.type === type ? event.text : '')).join('');
}

function present(name: string, text: string): Record<string, string> {
  return text === '' ? {} : { [name]: text };
}

/** The bytes of a recording in `test/upstreams/recordings`. */
export function recording(name: string): Buffer {
  return readFileSync(new URL(`../../../../upstreams/recordings/${name}.sse`, import.meta.url));
}
