import { isObject } from '../../../core/objects.ts';
import type { Continuation } from '../../generation.ts';
import { asCount, asObjects, asText, type WireObject } from './wire.ts';

/** The `provider` of every continuation from this provider. */
const PROVIDER = 'openai-compatible';

/**
 * Where an upstream sends its reasoning, and expects it back: in a field of the message, in thinking parts of its content
 * (Mistral), or between `<think>` tags in its text.
 */
export type ReasoningPlace =
  | 'reasoning_content'
  | 'reasoning'
  | 'reasoning_details'
  | 'content'
  | 'think'
  /** No text: the signature of the tool call that follows. */
  | 'thought_signature';

const PLACES: ReadonlySet<unknown> = new Set<ReasoningPlace>([
  'reasoning_content',
  'reasoning',
  'reasoning_details',
  'content',
  'think',
  'thought_signature',
]);

const RECORD_PLACES: ReadonlySet<ReasoningPlace> = new Set(['reasoning_details', 'thought_signature']);

/** What a continuation of this provider says. */
export interface ReasoningOrigin {
  readonly place: ReasoningPlace;
  /** The upstream's records, signatures included, for the place `reasoning_details`; one with `thought_signature` for that. */
  readonly details: readonly WireObject[];
}

/**
 * Creates the continuation of a block of reasoning: its place, and the upstream that it goes back to. `upstream` is a
 * fingerprint, because another target of the alias might refuse the field.
 */
export function createContinuation({ place, details }: ReasoningOrigin, upstream: string): Continuation {
  const data = { field: place, upstream };
  return { provider: PROVIDER, data: RECORD_PLACES.has(place) ? { ...data, details } : data };
}

/** Reads a continuation. Returns undefined for another provider's or another upstream's. */
export function readContinuation({ provider, data }: Continuation, upstream: string): ReasoningOrigin | undefined {
  if (provider !== PROVIDER || !isObject(data) || data['upstream'] !== upstream) return undefined;
  const place = data['field'];
  return isPlace(place) ? { place, details: asObjects(data['details']) } : undefined;
}

function isPlace(value: unknown): value is ReasoningPlace {
  return PLACES.has(value);
}

/** Reasoning in a message or a delta. */
export interface WireReasoning {
  readonly text: string;
  readonly place: ReasoningPlace;
  readonly details: readonly WireObject[];
}

/**
 * Reads the reasoning fields of a message or a delta. If an upstream repeats a text in several fields, one counts.
 * @returns undefined without reasoning
 */
export function readReasoning(message: WireObject): WireReasoning | undefined {
  const details = asObjects(message['reasoning_details']);
  const content = asText(message['reasoning_content']);
  const text = content ?? asText(message['reasoning']) ?? details.map(readDetailText).join('');
  if (text === '' && details.length === 0) return undefined;
  if (details.length > 0) return { text, details, place: 'reasoning_details' };
  return { text, details, place: content === undefined ? 'reasoning' : 'reasoning_content' };
}

function readDetailText(detail: WireObject): string {
  return asText(detail['text']) ?? asText(detail['summary']) ?? '';
}

/**
 * Appends the details of a delta. Pieces of one block (the same type and index) are joined, so that the upstream gets
 * back what it would have sent in a buffered answer.
 * @see https://openrouter.ai/docs/guides/best-practices/reasoning-tokens
 */
export function appendDetails(all: WireObject[], added: readonly WireObject[]): void {
  for (const detail of added) {
    const last = all.at(-1);
    const index = asCount(detail['index']);
    const continues =
      last !== undefined && index !== undefined && index === last['index'] && detail['type'] === last['type'];
    if (continues && detail['type'] !== 'reasoning.encrypted') all[all.length - 1] = joinDetails(last, detail);
    else all.push(detail);
  }
}

function joinDetails(first: WireObject, next: WireObject): WireObject {
  const joined = new Map<string, unknown>(Object.entries(first));
  for (const [name, value] of Object.entries(next)) {
    const before = joined.get(name);
    const isPiece = (name === 'text' || name === 'summary') && typeof before === 'string' && typeof value === 'string';
    if (isPiece) joined.set(name, before + value);
    else if (value !== null && value !== undefined) joined.set(name, value);
  }
  return Object.fromEntries(joined);
}
