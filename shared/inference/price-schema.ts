import * as v from 'valibot';

/** A number with at most six decimal places, so that a token's price is a whole number of picodollars. */
function decimal(max: number, message: string) {
  return v.pipe(
    v.number(message),
    v.check((value) => value >= 0 && value <= max && Number(value.toFixed(6)) === value, message),
  );
}

const dollars = decimal(10_000, 'must be 0 to 10000 US dollars for a million tokens, with at most six decimal places');
const factor = decimal(100, 'must be 0 to 100 times the usual price, with at most six decimal places');

const rates = {
  inputPerMillion: dollars,
  outputPerMillion: dollars,
  /** Input that is read from the cache. If absent, it costs as much as other input, as do writes. */
  cacheReadPerMillion: v.optional(dollars),
  /** Input that is written to the cache: for five minutes, or for as long as the provider keeps it. */
  cacheWritePerMillion: v.optional(dollars),
  /** Input that is written to the cache for an hour. If absent, as `cacheWritePerMillion`. */
  hourCacheWritePerMillion: v.optional(dollars),
};

const ownRates = v.strictObject(rates);

/** The prices of a tier: a factor of the usual ones, or its own. */
const tier = v.optional(v.lazy((input) => (typeof input === 'number' ? factor : ownRates)));

/** The prices of a model's tokens. */
export const priceSchema = v.strictObject({
  ...rates,
  batch: tier,
  flex: tier,
  priority: tier,
  /** Where the prices are from, and when they were read there: set by `npm run prices`, which replaces only such prices. */
  source: v.optional(v.string()),
  date: v.optional(v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\d$/, 'must be a date such as 2026-11-30'))),
});

export type Price = v.InferOutput<typeof priceSchema>;
