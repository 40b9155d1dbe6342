import * as v from 'valibot';
import { closedObject, notAnArray } from './closed-object.ts';

/** As many as a counter of a window can reach. */
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** US dollars, up to a billion. A finer amount than a millionth can't be counted. */
const dollars = v.pipe(
  v.number(),
  v.minValue(0),
  v.maxValue(1e9),
  v.check((amount) => Number(amount.toFixed(6)) === amount, 'at most six decimals are allowed'),
);

const modelLimits = {
  requestsPerMinute: v.optional(count),
  requestsPerDay: v.optional(count),
  tokensPerMinute: v.optional(count),
  tokensPerDay: v.optional(count),
  requestsInFlight: v.optional(count),
  streamsInFlight: v.optional(count),
  resumedStreamsInFlight: v.optional(count),
  dollarsPerDay: v.optional(dollars),
  dollarsPerMonth: v.optional(dollars),
};

/** The most alerts that a policy has. */
export const MAX_ALERTS = 10;

const alert = v.strictObject({
  name: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/, 'Expected 1 to 64 letters, digits, `_` and `-`')),
  per: v.picklist(['day', 'month']),
  dollars: v.pipe(dollars, v.minValue(0.000001)),
});

const queueLimits = {
  jobsQueued: v.optional(v.pipe(count, v.maxValue(100_000))),
  jobBytesQueued: v.optional(count),
  gpuWeightWaiting: v.optional(count),
  // Jobs of callers without limits have three tries.
  triesPerJob: v.optional(v.pipe(count, v.minValue(1), v.maxValue(3))),
};

/** Limits that only a project has. */
const storageLimits = {
  storedBytes: v.optional(count),
  storedItems: v.optional(count),
};

/** The section `limits` of a policy. Only that of a project has `models` and limits of what is stored. */
export const limitsSchema = closedObject({
  ...modelLimits,
  ...queueLimits,
  ...storageLimits,
  models: v.optional(
    v.pipe(notAnArray, v.record(v.pipe(v.string(), v.minLength(1), v.maxLength(256)), closedObject(modelLimits))),
  ),
  answerTokens: v.optional(v.pipe(count, v.minValue(1))),
  // No higher than the limits of `wire/json-schema.ts`, which apply to all callers.
  schemaBytes: v.optional(v.pipe(count, v.minValue(1), v.maxValue(256 * 1024))),
  schemaDepth: v.optional(v.pipe(count, v.minValue(1), v.maxValue(64))),
  alerts: v.optional(
    v.pipe(
      v.array(alert),
      v.minLength(1),
      v.maxLength(MAX_ALERTS),
      v.check((alerts) => new Set(alerts.map(({ name }) => name)).size === alerts.length, 'Expected unique names'),
    ),
  ),
});
