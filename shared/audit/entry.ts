import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as v from 'valibot';
import { isObject } from '../core/objects.ts';
import { RECORDED_KINDS } from '../core/recorded-line.ts';
import type { LogBatch } from '../lambda/log-event.ts';

const count = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)));
const name = v.optional(v.string());

/** The fields of a recorded line that are read here. It has others: ids, names and durations, never content. */
const known = v.object({
  time: v.pipe(v.string(), v.isoTimestamp()),
  record: v.picklist(RECORDED_KINDS),
  tenant: name,
  keyId: name,
  /** The tenant that a rejected message names, whose sender may not use it. */
  claimedTenant: name,
  /** The caller's network. Absent for jobs. */
  network: name,
  route: name,
  endpoint: name,
  model: name,
  serviceTier: name,
  inputTokens: count,
  cachedInputTokens: count,
  cacheWriteTokens: count,
  outputTokens: count,
  /** The alias that answered, if it isn't `model`. */
  usageModel: name,
  /** JSON text of the usage by model and tier, if there are several. */
  usageParts: name,
  /** The host, fleet or region of the target that answered. Absent for Bedrock in the stage's own region. */
  location: name,
  /** The providers, with their locations, that content was sent to: those that failed, guardrails and moderation models too. */
  sentTo: name,
  /** The moderation model that was called, and how many times it has answered. */
  moderationModel: name,
  moderationRequests: count,
  /** The calls of a settlement. */
  calls: count,
  /** US dollars, exactly. */
  costUsd: v.optional(v.pipe(v.string(), v.regex(/^\d+(\.\d{1,12})?$/))),
  /** What followed from a match of a content rule or guardrail. */
  action: name,
  act: name,
  objectId: name,
  project: name,
  details: name,
});

const entrySchema = v.objectWithRest(
  known.entries,
  v.union([v.string(), v.number(), v.boolean(), v.null(), v.undefined()]),
);

/** An entry of the audit log. */
export type Entry = v.InferOutput<typeof entrySchema> & {
  /** The same whenever the line is delivered. */
  readonly id: string;
};

/** Fields of log lines that say nothing about the call. */
const OMITTED: ReadonlySet<string> = new Set(['level', 'message', 'cold']);

/** Returns the entries of a batch of lines, in their order, and the number of lines that can't be read as entries. */
export function readEntries(batch: LogBatch): { readonly entries: readonly Entry[]; readonly unreadable: number } {
  const entries = batch.lines.flatMap((line, index) => {
    const parsed = v.safeParse(entrySchema, selectFields(parseJson(line)));
    return parsed.success ? [{ id: makeId(`${batch.id}:${index}`), ...parsed.output }] : [];
  });
  return { entries, unreadable: batch.lines.length - entries.length };
}

/** Leaves out the metrics of a line, whose names begin with a capital letter, and what describes them. */
function selectFields(line: unknown): unknown {
  if (!isObject(line)) return line;
  return Object.fromEntries(Object.entries(line).filter(([field]) => /^[a-z]/.test(field) && !OMITTED.has(field)));
}

const makeId = (position: string) => `audit_${createHash('sha256').update(position).digest('hex').slice(0, 24)}`;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Returns entries as lines of JSON, one each. */
export function encodeEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
}

/** Returns the bytes of the object that holds entries: their lines, compressed. */
export function packEntries(text: string): Uint8Array {
  return gzipSync(text);
}

/**
 * Returns the lines of an object that holds entries.
 * @throws Error if it isn't compressed
 */
export function unpackEntries(bytes: Uint8Array): string {
  return gunzipSync(bytes).toString('utf8');
}

const storedSchema = v.objectWithRest({ ...known.entries, id: v.string() }, entrySchema.rest);

/**
 * Parses the lines of entries.
 * @throws ValiError, SyntaxError if a line isn't an entry
 */
export function parseEntries(text: string): Entry[] {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => v.parse(storedSchema, JSON.parse(line)));
}
