import type { SenderLimits } from '../access/senders.ts';
import { LambentError } from '../core/errors.ts';
import { type CounterStore, type Counters, MAX_REMOVED } from './counters.ts';
import { formatSeconds } from './limit-errors.ts';
import { getWindow, getWindowEnd, isPast } from './windows.ts';

const FIELDS = [
  ['messagesPerMinute', 'minute'],
  ['messagesPerDay', 'day'],
] as const;

/**
 * Counts a message of a sender by one conditional write.
 * @param pk the sender's partition key
 * @returns a function that undoes this, for a message that doesn't become a job
 * @throws LambentError `rate_limit_exceeded`, with `retryAfterMs` unless the limit is 0; the table's errors. The message may have
 * been counted then
 */
export async function countMessage(
  store: CounterStore,
  pk: string,
  limits: SenderLimits,
  now: number,
): Promise<() => Promise<void>> {
  const caps = FIELDS.flatMap(([name, span]) => {
    const max = limits[name];
    return max === undefined ? [] : [{ name, max: BigInt(max), window: getWindow(span, now) }];
  });
  const zero = caps.find(({ max }) => max === 0n);
  if (zero !== undefined) {
    throw new LambentError('rate_limit_exceeded', `Messages are not permitted: ${zero.name} of the sender is 0.`);
  }
  const add = Object.fromEntries(caps.map(({ window }) => [window, 1n]));
  const atMost = Object.fromEntries(caps.map(({ window, max }) => [window, max - 1n]));
  const { isWritten, counters } = await store.write({ pk, add, atMost });
  if (!isWritten) {
    const full = caps.filter(({ window, max }) => (counters[window] ?? 0n) >= max);
    const [last] = full.sort((a, b) => getWindowEnd(b.window) - getWindowEnd(a.window));
    const { name, max, window } = last ?? caps[0] ?? { name: FIELDS[0][0], max: 0n, window: getWindow('minute', now) };
    const retryAfterMs = getWindowEnd(window) - now;
    const message = `Limit reached for messages on ${name} of the sender: limit ${max}. Please try again in ${formatSeconds(retryAfterMs)}.`;
    throw new LambentError('rate_limit_exceeded', message, { retryAfterMs });
  }
  const past = listPast(counters, now).slice(0, MAX_REMOVED);
  if (past.length > 0) await store.write({ pk, remove: past }).catch(() => {});
  return async () => {
    await store.write({ pk, add: Object.fromEntries(caps.map(({ window }) => [window, -1n])) });
  };
}

function listPast(counters: Counters, now: number): string[] {
  return Object.keys(counters).filter((name) => /^[md]\d+$/.test(name) && isPast(name, now));
}
