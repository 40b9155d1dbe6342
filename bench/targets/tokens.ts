import { setImmediate, setTimeout } from 'node:timers/promises';

/**
 * Yields the tokens of a stand-in model. The first token is the time of its creation, from which its reader computes
 * the travel time (`process.hrtime`: nanoseconds of a clock that all processes of a machine share).
 * @param count number of tokens
 * @param intervalMs time between tokens; 0 sends each in a separate event-loop turn, and so in a separate packet
 */
export async function* generateStampedTokens(count = 16, intervalMs = 0): AsyncGenerator<string> {
  yield `t${process.hrtime.bigint()} `;
  for (let index = 1; index < count; index++) {
    await (intervalMs > 0 ? setTimeout(intervalMs) : setImmediate());
    yield 'token ';
  }
}

/** Returns the milliseconds since the first token in `text` was created, or undefined if `text` has no such token. */
export function measureTravelMs(text: string): number | undefined {
  const madeAt = /\bt(\d{6,}) /.exec(text)?.[1];
  return madeAt === undefined ? undefined : Number(process.hrtime.bigint() - BigInt(madeAt)) / 1e6;
}
