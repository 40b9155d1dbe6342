import * as v from 'valibot';
import type { Entry } from '../audit/entry.ts';

/** The kinds of usage that the service has, by their names in OpenAI's API. `estimated` is what settlements have charged. */
export const USAGE_KINDS = ['completions', 'embeddings', 'moderations', 'estimated'] as const;
export type UsageKind = (typeof USAGE_KINDS)[number];

/** What usage is added up by. */
export interface UsageKey {
  readonly kind: UsageKind;
  readonly project: string;
  /** Empty if the call had no key, as jobs of programs have none. */
  readonly keyId: string;
  /** The alias. */
  readonly model: string;
  /** Empty for the default tier. */
  readonly tier: string;
}

/** Sums. Integers of any size, so that nothing is rounded. */
export interface UsageSums {
  readonly requests: bigint;
  /** With those that were read from a cache or written to one. */
  readonly inputTokens: bigint;
  readonly cachedTokens: bigint;
  readonly cacheWriteTokens: bigint;
  readonly outputTokens: bigint;
  /** 10⁻¹² US dollars. */
  readonly picodollars: bigint;
}

export interface Usage {
  readonly key: UsageKey;
  readonly sums: UsageSums;
}

/** The widths of the buckets that usage is added up in. */
export const BUCKET_WIDTHS = ['1m', '1h', '1d'] as const;
export type BucketWidth = (typeof BUCKET_WIDTHS)[number];

export const BUCKET_SECONDS: Readonly<Record<BucketWidth, number>> = { '1m': 60, '1h': 3_600, '1d': 86_400 };

/** Returns the start of the bucket that a time is in, in epoch seconds. */
export function getBucketStart(width: BucketWidth, epochSeconds: number): number {
  return Math.floor(epochSeconds / BUCKET_SECONDS[width]) * BUCKET_SECONDS[width];
}

export const NO_USAGE: UsageSums = {
  ...{ requests: 0n, inputTokens: 0n, cachedTokens: 0n, cacheWriteTokens: 0n, outputTokens: 0n, picodollars: 0n },
};

export function addSums(first: UsageSums, second: UsageSums): UsageSums {
  return {
    requests: first.requests + second.requests,
    inputTokens: first.inputTokens + second.inputTokens,
    cachedTokens: first.cachedTokens + second.cachedTokens,
    cacheWriteTokens: first.cacheWriteTokens + second.cacheWriteTokens,
    outputTokens: first.outputTokens + second.outputTokens,
    picodollars: first.picodollars + second.picodollars,
  };
}

/**
 * Returns the usage of an entry, by the models and tiers of its answers, which have a request each, and of its moderations.
 * Empty for a call without any, and for an entry that isn't a call.
 */
export function readUsage(entry: Entry): Usage[] {
  return [...readAnswers(entry), ...readModerations(entry)];
}

/** Moderation models report no tokens. */
function readModerations({ record, tenant, keyId = '', moderationModel, moderationRequests = 0 }: Entry): Usage[] {
  if (record !== 'call' || tenant === undefined || moderationModel === undefined || moderationRequests === 0) return [];
  const key = { kind: 'moderations', project: tenant, keyId, model: moderationModel, tier: '' } as const;
  return [{ key, sums: { ...NO_USAGE, requests: BigInt(moderationRequests) } }];
}

function readAnswers(entry: Entry): Usage[] {
  const { tenant, inputTokens, outputTokens } = entry;
  const model = entry.usageModel ?? entry.model;
  if (entry.record !== 'call' && entry.record !== 'settlement') return [];
  if (tenant === undefined || model === undefined) return [];
  if (inputTokens === undefined && outputTokens === undefined) return [];
  const key = { kind: readKind(entry), project: tenant, keyId: entry.keyId ?? '' };
  const whole = { ...key, model, tier: readTier(entry) };
  const sums = readSums(entry, BigInt(entry.record === 'settlement' ? (entry.calls ?? 1) : 1));
  const parts = parseParts(entry.usageParts).map((part) => ({
    key: { ...key, model: part.model, tier: readTier(part) },
    sums: readSums(part, 1n),
  }));
  // A job has the usage of its answer, and its attempts may have used more.
  const { requests: _, ...total } = parts.reduce((sum, part) => addSums(sum, part.sums), NO_USAGE);
  const isWhole = Object.entries(total).every(([name, value]) => value === sums[name as keyof UsageSums]);
  return parts.length > 0 && isWhole ? parts : [{ key: whole, sums }];
}

type Amounts = Pick<Entry, 'inputTokens' | 'outputTokens' | 'cachedInputTokens' | 'cacheWriteTokens' | 'costUsd'>;

function readSums(amounts: Amounts, requests: bigint): UsageSums {
  return {
    requests,
    inputTokens: BigInt(amounts.inputTokens ?? 0),
    cachedTokens: BigInt(amounts.cachedInputTokens ?? 0),
    cacheWriteTokens: BigInt(amounts.cacheWriteTokens ?? 0),
    outputTokens: BigInt(amounts.outputTokens ?? 0),
    picodollars: parseDollars(amounts.costUsd ?? '0'),
  };
}

const count = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)));
const partsSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(
    v.object({
      model: v.string(),
      serviceTier: v.optional(v.string()),
      ...{ inputTokens: count, outputTokens: count, cachedInputTokens: count, cacheWriteTokens: count },
      costUsd: v.optional(v.pipe(v.string(), v.regex(/^\d+(\.\d{1,12})?$/))),
    }),
  ),
);

function parseParts(text: string | undefined): v.InferOutput<typeof partsSchema> {
  const result = v.safeParse(partsSchema, text);
  return result.success ? result.output : [];
}

function readKind({ record, route, endpoint }: Entry): UsageKind {
  if (record === 'settlement') return 'estimated';
  const path = endpoint ?? route?.replace(/^\w+ /, '');
  return path === '/v1/embeddings' ? 'embeddings' : 'completions';
}

function readTier({ serviceTier = '' }: Pick<Entry, 'serviceTier'>): string {
  return serviceTier === 'default' || serviceTier === 'auto' ? '' : serviceTier;
}

/** Converts US dollars, with up to 12 decimals, to picodollars. */
export function parseDollars(dollars: string): bigint {
  const [whole = '', fraction = ''] = dollars.split('.');
  return BigInt(whole + fraction.padEnd(12, '0'));
}

const keySchema = v.pipe(
  v.tuple([v.picklist(USAGE_KINDS), v.string(), v.string(), v.string(), v.string(), v.number()]),
  v.transform(([kind, project, keyId, model, tier]): UsageKey => ({ kind, project, keyId, model, tier })),
);

/** Returns the sort key of a row. Each chain adds to rows of its own, in its order. */
export function encodeRowKey({ kind, project, keyId, model, tier }: UsageKey, chain: number): string {
  return JSON.stringify([kind, project, keyId, model, tier, chain]);
}

/** Returns what a row adds up; undefined for a row of another version. */
export function parseRowKey(sk: string): UsageKey | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), keySchema), sk);
  return result.success ? result.output : undefined;
}
