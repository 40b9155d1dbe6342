import type { Amounts, Cap, Kind } from './caps.ts';
import type { Counters } from './counters.ts';
import { getChildCounters, getCounterName, METRICS } from './pools.ts';
import { MINUTE_MS } from './windows.ts';

/**
 * Why a call has more than one reservation: the caps of a fallback or a moderation model, which the same call of another model uses,
 * too; or further attempts, for which its first reservation wasn't enough.
 */
export type CallPart = 'fallback' | 'retry';

/**
 * What the calls of one minute that have not settled yet have reserved, of one model and with the same caps in flight. A call
 * that never settles is known by it.
 */
export interface Bucket {
  /** Number of the minute since 1970. */
  readonly minute: number;
  /** The caps in flight that the calls hold: the metric's letter, then the letters of the levels, and a mark for a part of a call. */
  readonly held: string;
  readonly model: string;
}

/** How long a call can run: the longest that Lambda allows. */
const LONGEST_CALL_MS = 900_000;
/** Clocks differ, and a settling may be late. */
const MARGIN_MS = 60_000;
/** Calls are added to a bucket during its minute. An empty one is removed after another minute. */
const EMPTY_KEPT_MS = 2 * MINUTE_MS;

const FIELDS = { calls: 'n', inputTokens: 'i', outputTokens: 'o', spend: 'c' } as const;

const KINDS = ['answers', 'streams', 'resumed'] as const satisfies Kind[];
const LEVELS = { k: 'key', m: 'model', p: 'project', a: 'account' } as const;

/** The marks of buckets of parts of calls. They are no letters of levels. */
const MARKS: Readonly<Record<CallPart, string>> = { fallback: 'x', retry: 'r' };

/** Returns the bucket of a call that starts at `now` (epoch milliseconds). */
export function getBucket(
  { kind, model, part }: { readonly kind: Kind; readonly model: string; readonly part?: CallPart },
  caps: readonly Cap[],
  now: number,
): Bucket {
  const levels = caps.filter(({ span }) => span === 'now').map(({ level }) => level[0]);
  const held = [METRICS[kind], ...levels, part === undefined ? '' : MARKS[part]].join('');
  return { minute: Math.floor(now / MINUTE_MS), held, model };
}

/** Returns the names of a bucket's counters. */
export function getBucketCounters({ minute, held, model }: Bucket) {
  const getName = (field: string): string => `b.${minute}.${held}.${field}.${model}`;
  return {
    calls: getName(FIELDS.calls),
    inputTokens: getName(FIELDS.inputTokens),
    outputTokens: getName(FIELDS.outputTokens),
    spend: getName(FIELDS.spend),
  };
}

/** Returns the change of a bucket's counters by one call. */
export function buildBucketChange(
  bucket: Bucket,
  { inputTokens, outputTokens, spend }: Amounts,
  sign: 1n | -1n,
): Counters {
  const names = getBucketCounters(bucket);
  return {
    [names.calls]: sign,
    [names.inputTokens]: sign * inputTokens,
    [names.outputTokens]: sign * outputTokens,
    [names.spend]: sign * spend,
  };
}

/** Lists the buckets of a key's item. */
export function listBuckets(counters: Counters): Bucket[] {
  return Object.keys(counters).flatMap((name) => {
    const match = /^b\.(\d+)\.([a-z]+)\.n\.(.*)$/s.exec(name);
    const [, minute, held, model] = match ?? [];
    return held === undefined || model === undefined ? [] : [{ minute: Number(minute), held, model }];
  });
}

/** True if no call of the bucket can still settle. */
export function isStranded({ minute }: Bucket, now: number): boolean {
  return (minute + 1) * MINUTE_MS + LONGEST_CALL_MS + MARGIN_MS <= now;
}

/** True if the calls of a bucket use models: not streams of what was stored, nor fallbacks, whose calls reserve the same. */
export function callsModel({ held }: Bucket): boolean {
  return !held.startsWith(METRICS.resumed) && !held.endsWith(MARKS.fallback);
}

/** True if a bucket has further attempts of calls that are counted in another bucket. */
export function hasRetries({ held }: Bucket): boolean {
  return held.endsWith(MARKS.retry);
}

/** Lists the counters of buckets whose calls have all settled. The number of calls, by which a bucket is found, is the last of each. */
export function listEmptyBuckets(counters: Counters, now: number): string[] {
  return listBuckets(counters)
    .filter((bucket) => (bucket.minute + 1) * MINUTE_MS + EMPTY_KEPT_MS <= now)
    .filter((bucket) => counters[getBucketCounters(bucket).calls] === 0n)
    .flatMap((bucket) => {
      const { calls, ...others } = getBucketCounters(bucket);
      return [...Object.values(others), calls];
    });
}

/** Returns the change by which calls of a bucket give back their places in flight. */
export function buildPlaceRelease({ held, model }: Bucket, calls: bigint): Counters {
  const [letter = '', ...levels] = held;
  const marks = Object.values(MARKS);
  const metric = KINDS.find((kind) => METRICS[kind] === letter) ?? 'answers';
  return Object.fromEntries(
    levels
      .filter((each) => !marks.includes(each))
      .map((each) => {
        const level = each === 'k' || each === 'm' || each === 'p' ? LEVELS[each] : LEVELS.a;
        const counter = getCounterName({ level, metric }, 'now', model);
        return level === 'key' ? [counter, -calls] : [getChildCounters(counter).left, calls];
      }),
  );
}
