import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SYNTHETIC, syntheticTrace } from './synthetic.ts';
import { BLOCK_TOKENS, type Trace, type TraceRequest } from './trace.ts';

/** Few conversations: laws hold for these as well. */
const SMALL = { ...SYNTHETIC, conversations: 40 };
const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function forEachTrace(check: (trace: Trace) => void): void {
  fc.assert(
    fc.property(seeds, (seed) => check(syntheticTrace(seed, SMALL))),
    { numRuns: 30 },
  );
}

/** Blocks that two prompts begin alike with. */
function shared(one: TraceRequest, other: TraceRequest): number {
  const differs = one.blocks.findIndex((block, depth) => block !== other.blocks[depth]);
  return differs < 0 ? one.blocks.length : differs;
}

describe('a made-up trace', () => {
  test('is the same for the same seed, and another for another', () => {
    expect(syntheticTrace(7)).toEqual(syntheticTrace(7));
    expect(syntheticTrace(7).requests).not.toEqual(syntheticTrace(8).requests);
  });

  test('is in the order of its times, from 0 on', () => {
    forEachTrace(({ requests }) => {
      expect(requests[0]?.atMs).toBe(0);
      for (const [index, { atMs }] of requests.entries())
        expect(atMs).toBeGreaterThanOrEqual(requests[index - 1]?.atMs ?? 0);
    });
  });

  test('has prompts and answers of whole tokens, within the limit', () => {
    forEachTrace(({ requests }) => {
      for (const { inputTokens, outputTokens } of requests) {
        expect(Number.isSafeInteger(inputTokens) && Number.isSafeInteger(outputTokens)).toBe(true);
        expect(inputTokens).toBeGreaterThan(SMALL.applicationBlocks * BLOCK_TOKENS);
        expect(inputTokens).toBeLessThanOrEqual(SMALL.mostTokens);
        expect(outputTokens).toBeGreaterThanOrEqual(1);
      }
    });
  });

  test('names exactly the whole blocks of each prompt, all below its count of blocks', () => {
    forEachTrace(({ requests, blockCount }) => {
      for (const { inputTokens, blocks } of requests) {
        expect(blocks).toHaveLength(Math.floor(inputTokens / BLOCK_TOKENS));
        for (const block of blocks) expect(block).toBeLessThan(blockCount);
      }
    });
  });

  test('has a block in one place only, behind the same ones: equal names are equal beginnings', () => {
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

  test('has beginnings that many share, and turns that go on where the one before ended', () => {
    const { requests } = syntheticTrace(1, SMALL);
    const { applicationBlocks } = SMALL;
    const goesOn = (one: TraceRequest) =>
      requests.some((other) => other.atMs > one.atMs && shared(one, other) === one.blocks.length);
    const isAlone = (one: TraceRequest) => requests.every((other) => other === one || shared(one, other) === 0);
    expect(requests.filter(isAlone).length).toBeLessThan(requests.length / 10);
    // Four turns on average, so that three of four have one after them.
    expect(requests.filter(goesOn).length / requests.length).toBeGreaterThan(0.6);
    expect(requests.some((one) => requests.some((other) => shared(one, other) === applicationBlocks))).toBe(true);
  });

  test('comes in bursts', () => {
    const { ms, everyMs, factor } = SYNTHETIC.burst;
    // Beginnings only: turns that follow come whenever they do.
    const { requests } = syntheticTrace(3, { ...SYNTHETIC, turns: 1 });
    const inBursts = requests.filter(({ atMs }) => atMs % everyMs < ms).length / ms;
    const between = requests.filter(({ atMs }) => atMs % everyMs >= ms).length / (everyMs - ms);
    expect(inBursts / between).toBeGreaterThan(factor / 2);
  });
});
