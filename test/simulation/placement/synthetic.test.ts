import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateTrace, SYNTHETIC } from './synthetic.ts';
import { BLOCK_TOKENS, type Trace, type TraceRequest } from './trace.ts';

/** A small shape, for which the same properties hold. */
const SMALL = { ...SYNTHETIC, conversations: 40 };
const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function forEachTrace(check: (trace: Trace) => void): void {
  fc.assert(
    fc.property(seeds, (seed) => check(generateTrace(seed, SMALL))),
    { numRuns: 30 },
  );
}

/** Counts the blocks of the common prefix of two prompts. */
function countSharedBlocks(one: TraceRequest, other: TraceRequest): number {
  const differs = one.blocks.findIndex((block, depth) => block !== other.blocks[depth]);
  return differs < 0 ? one.blocks.length : differs;
}

describe('a synthetic trace', () => {
  it('a synthetic trace is the same for the same seed, and different for another', () => {
    expect(generateTrace(7)).toEqual(generateTrace(7));
    expect(generateTrace(7).requests).not.toEqual(generateTrace(8).requests);
  });

  it('a synthetic trace is in order of time, starting at 0', () => {
    forEachTrace(({ requests }) => {
      expect(requests[0]?.atMs).toBe(0);
      for (const [index, { atMs }] of requests.entries())
        expect(atMs).toBeGreaterThanOrEqual(requests[index - 1]?.atMs ?? 0);
    });
  });

  it('a synthetic trace has integer token counts within the limit', () => {
    forEachTrace(({ requests }) => {
      for (const { inputTokens, outputTokens } of requests) {
        expect(Number.isSafeInteger(inputTokens) && Number.isSafeInteger(outputTokens)).toBe(true);
        expect(inputTokens).toBeGreaterThan(SMALL.applicationBlocks * BLOCK_TOKENS);
        expect(inputTokens).toBeLessThanOrEqual(SMALL.mostTokens);
        expect(outputTokens).toBeGreaterThanOrEqual(1);
      }
    });
  });

  it('a synthetic trace names the complete blocks of each prompt, with ids below its block count', () => {
    forEachTrace(({ requests, blockCount }) => {
      for (const { inputTokens, blocks } of requests) {
        expect(blocks).toHaveLength(Math.floor(inputTokens / BLOCK_TOKENS));
        for (const block of blocks) expect(block).toBeLessThan(blockCount);
      }
    });
  });

  it('a synthetic trace has each block id after the same blocks only, so that equal ids mean equal prefixes', () => {
    forEachTrace(({ requests }) => {
      const before = new Map<number, { readonly depth: number; readonly previous: number | undefined }>();
      for (const { blocks } of requests) {
        for (const [depth, block] of blocks.entries()) {
          const here = { depth, previous: blocks[depth - 1] };
          expect(before.get(block) ?? here).toEqual(here);
          before.set(block, here);
        }
      }
    });
  });

  it('a synthetic trace has shared prefixes, and turns that continue the previous one', () => {
    const { requests } = generateTrace(1, SMALL);
    const { applicationBlocks } = SMALL;
    const hasSuccessor = (one: TraceRequest) =>
      requests.some((other) => other.atMs > one.atMs && countSharedBlocks(one, other) === one.blocks.length);
    const isAlone = (one: TraceRequest) =>
      requests.every((other) => other === one || countSharedBlocks(one, other) === 0);
    expect(requests.filter(isAlone).length).toBeLessThan(requests.length / 10);
    // Conversations have four turns on average, so three of four turns have a successor.
    expect(requests.filter(hasSuccessor).length / requests.length).toBeGreaterThan(0.6);
    expect(requests.some((one) => requests.some((other) => countSharedBlocks(one, other) === applicationBlocks))).toBe(
      true,
    );
  });

  it('a synthetic trace arrives in bursts', () => {
    const { ms, everyMs, factor } = SYNTHETIC.burst;
    // First turns only: later turns follow their own pauses.
    const { requests } = generateTrace(3, { ...SYNTHETIC, turns: 1 });
    const inBursts = requests.filter(({ atMs }) => atMs % everyMs < ms).length / ms;
    const between = requests.filter(({ atMs }) => atMs % everyMs >= ms).length / (everyMs - ms);
    expect(inBursts / between).toBeGreaterThan(factor / 2);
  });
});
