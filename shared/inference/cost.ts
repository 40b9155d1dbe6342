import { getOrCreate } from '../core/get-or-create.ts';
import type { ServiceTier, Usage } from './generation.ts';
import type { Price } from './price-schema.ts';

/** The tiers that have prices. Any other is `default`. */
export type PriceTier = ServiceTier | 'batch';

/** Picodollars for a token. */
interface TokenPrices {
  readonly input: bigint;
  readonly output: bigint;
  readonly cacheRead: bigint;
  readonly cacheWrite: bigint;
  readonly hourCacheWrite: bigint;
}

type Rates = Pick<
  Price,
  'inputPerMillion' | 'outputPerMillion' | 'cacheReadPerMillion' | 'cacheWritePerMillion' | 'hourCacheWritePerMillion'
>;

/**
 * Returns what an answer costs in picodollars (10⁻¹² US dollars): a whole number without rounding, so that costs can be
 * added up exactly.
 * @param tier the tier that served the request
 */
export function computeCost(usage: Usage, price: Price, tier: PriceTier = 'default'): bigint {
  const prices = findTokenPrices(price, tier);
  const written = usage.cacheWriteTokens ?? 0;
  const hour = Math.min(written, usage.hourCacheWriteTokens ?? 0);
  const plain = usage.inputTokens - usage.cachedInputTokens - written;
  return (
    toCount(plain) * prices.input +
    toCount(usage.cachedInputTokens) * prices.cacheRead +
    toCount(written - hour) * prices.cacheWrite +
    toCount(hour) * prices.hourCacheWrite +
    toCount(usage.outputTokens) * prices.output
  );
}

/** Upstreams may report anything: a value that isn't a token count costs nothing. */
function toCount(tokens: number): bigint {
  return Number.isSafeInteger(tokens) && tokens > 0 ? BigInt(tokens) : 0n;
}

/** Formats picodollars as US dollars, exactly: `0.00123`. */
export function formatDollars(picodollars: bigint): string {
  const digits = String(picodollars).padStart(13, '0');
  const fraction = digits.slice(-12).replace(/0+$/, '');
  return fraction === '' ? digits.slice(0, -12) : `${digits.slice(0, -12)}.${fraction}`;
}

/**
 * Returns what an answer costs in US dollars, as a number for metrics, and the sum with `before` in picodollars and, for
 * logs, in dollars.
 */
export function describeCost(usage: Usage, price: Price, tier: PriceTier | undefined, before: bigint) {
  const cost = computeCost(usage, price, tier);
  const sum = before + cost;
  return { dollars: Number(cost) / 1e12, sum, exactSum: formatDollars(sum) };
}

/** Prices by tier, for each price of the registry. */
const known = new WeakMap<Price, Map<PriceTier, TokenPrices>>();

function findTokenPrices(price: Price, tier: PriceTier): TokenPrices {
  const byTier = known.get(price) ?? new Map<PriceTier, TokenPrices>();
  known.set(price, byTier);
  return getOrCreate(byTier, tier, () => {
    const own = tier === 'batch' || tier === 'flex' || tier === 'priority' ? price[tier] : undefined;
    return typeof own === 'object' ? toTokenPrices(own) : multiply(toTokenPrices(price), own ?? 1);
  });
}

function toTokenPrices(rates: Rates): TokenPrices {
  const input = toMillionths(rates.inputPerMillion);
  const convert = (dollars: number | undefined, otherwise: bigint): bigint =>
    dollars === undefined ? otherwise : toMillionths(dollars);
  const cacheWrite = convert(rates.cacheWritePerMillion, input);
  return {
    input,
    output: toMillionths(rates.outputPerMillion),
    cacheRead: convert(rates.cacheReadPerMillion, input),
    cacheWrite,
    hourCacheWrite: convert(rates.hourCacheWritePerMillion, cacheWrite),
  };
}

/** A millionth of a dollar for a million tokens is a picodollar for a token. */
function toMillionths(value: number): bigint {
  return BigInt(Math.round(value * 1e6));
}

function multiply(prices: TokenPrices, factor: number): TokenPrices {
  if (factor === 1) return prices;
  const millionths = toMillionths(factor);
  // Rounded to the nearest picodollar.
  const times = (price: bigint): bigint => (price * millionths + 500_000n) / 1_000_000n;
  return {
    input: times(prices.input),
    output: times(prices.output),
    cacheRead: times(prices.cacheRead),
    cacheWrite: times(prices.cacheWrite),
    hourCacheWrite: times(prices.hourCacheWrite),
  };
}
