import { setImmediate, setTimeout } from 'node:timers/promises';

/**
 * The tokens of a stand-in model. The first is the time at which it was made (`process.hrtime`, nanoseconds of a clock
 * that all processes of a machine share), so that whoever reads it knows how long it travelled.
 * @param count how many
 * @param intervalMs how far apart; 0 puts each in an event-loop turn of its own, so that each is a packet of its own
 */
export async function* generateStampedTokens(count = 16, intervalMs = 0): AsyncGenerator<string> {
  yield `t${process.hrtime.bigint()} `;
  for (let index = 1; index < count; index++) {
    await (intervalMs > 0 ? setTimeout(intervalMs) : setImmediate());
    yield 'token ';
  }
}

/** Milliseconds since the first token in `text` was made; undefined when `text` holds none. */
export function measureTravelMs(text: string): number | undefined {
  const madeAt = /\bt(\d{6,}) /.exec(text)?.[1];
  return madeAt === undefined ? undefined : Number(process.hrtime.bigint() - BigInt(madeAt)) / 1e6;
}
