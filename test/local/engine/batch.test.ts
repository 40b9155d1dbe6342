import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Batch, type BatchOptions } from '../../../local/engine/batch.ts';
import type { EngineRequest, Sequence } from '../../../local/engine/sequence.ts';
import { computeStepMs, countHalfPairs, STEP_MODELS, type StepModel } from '../../../local/engine/step-model.ts';

const BLOCK = 16;
const { h100 } = STEP_MODELS;

/** A batch that writes down what happens in it. */
function observed(options: Partial<BatchOptions> = {}) {
  const happened: { what: 'first' | 'finished'; sequence: Sequence; at: number }[] = [];
  const batch = new Batch({
    model: h100,
    maxSequences: 8,
    stepTokens: 512,
    blockTokens: BLOCK,
    onFirstToken: (sequence, at) => happened.push({ what: 'first', sequence, at }),
    onFinished: (sequence, at) => happened.push({ what: 'finished', sequence, at }),
    ...options,
  });
  return { batch, happened };
}

/** A request that begins as all others of the same talk. */
function ask(promptTokens: number, outputTokens: number, { talk = -1, priority = 0 } = {}): EngineRequest {
  const count = talk < 0 ? 0 : Math.floor((promptTokens + outputTokens) / BLOCK);
  const blocks = Array.from({ length: count }, (_, index) => talk * 1_000 + index);
  return { promptTokens, outputTokens, priority, blocks };
}

const drain = (batch: Batch): void => batch.advance(Number.POSITIVE_INFINITY);

describe('the time of a step', () => {
  test('is the larger of memory and arithmetic, with what is cached and attention on top', () => {
    const model: StepModel = {
      memoryBaseMs: 10,
      memoryMsPerToken: 0.01,
      computeBaseMs: 1,
      computeMsPerToken: 0.1,
      cacheReadUsPerToken: 1,
      attentionNsPerHalfPair: 1,
      cacheTokens: 1_000,
    };
    expect(computeStepMs(model, 1, 0, 0)).toBeCloseTo(10.01);
    expect(computeStepMs(model, 200, 0, 0)).toBeCloseTo(21);
    expect(computeStepMs(model, 1, 5_000, 0)).toBeCloseTo(15.01);
    expect(computeStepMs(model, 1, 0, countHalfPairs(1_000, 500))).toBeCloseTo(12.01);
  });

  test('does not change by how a prompt is cut, as far as attention goes', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), (a, b) => {
        expect(countHalfPairs(a, 0) + countHalfPairs(b, a)).toBe(countHalfPairs(a + b, 0));
      }),
    );
  });
});

describe('one request', () => {
  test('has its first token after its prompt, and each other after a step', () => {
    const { batch } = observed({ stepTokens: 1_024 });
    const sequence = batch.add(ask(1_000, 3), 100);
    drain(batch);
    const prefill = computeStepMs(h100, 1_000, 0, countHalfPairs(1_000, 0));
    expect(sequence.firstTokenAt).toBeCloseTo(100 + prefill, 9);
    const decode = computeStepMs(h100, 1, 1_001, 0) + computeStepMs(h100, 1, 1_002, 0);
    expect(sequence.finishedAt).toBeCloseTo(100 + prefill + decode, 9);
  });

  test('has its prompt computed in chunks of what a step may have', () => {
    const { batch } = observed({ stepTokens: 512 });
    const sequence = batch.add(ask(1_000, 1), 0);
    drain(batch);
    const chunks =
      computeStepMs(h100, 512, 0, countHalfPairs(512, 0)) + computeStepMs(h100, 488, 0, countHalfPairs(488, 512));
    expect(sequence.firstTokenAt).toBeCloseTo(chunks);
    expect(sequence.finishedAt).toBe(sequence.firstTokenAt);
  });

  test('leaves a token of each step to each that decodes', () => {
    const { batch } = observed({ stepTokens: 512 });
    const other = batch.add(ask(100, 1_000), 0);
    batch.advance(100);
    const sequence = batch.add(ask(1_023, 1), 100);
    const begins = batch.nextEventAt();
    const context = 100 + batch.countGenerated(other);
    drain(batch);
    const chunk = (tokens: number, before: number): number =>
      computeStepMs(h100, tokens + 1, context, countHalfPairs(tokens, before));
    // The other's context grows meanwhile, by what is too little to see here.
    expect(sequence.firstTokenAt).toBeCloseTo(begins + chunk(511, 0) + chunk(511, 511) + chunk(1, 1_022), 2);
  });

  test('that could never fit is refused', () => {
    const { batch } = observed();
    expect(() => batch.add(ask(h100.cacheTokens, 1), 0)).toThrow(RangeError);
    expect(() => batch.add(ask(10, 0), 0)).toThrow(RangeError);
  });
});

describe('a shared beginning', () => {
  test('is computed once, which brings the first token forward', () => {
    const { batch } = observed();
    const first = batch.add(ask(4_000, 10, { talk: 1 }), 0);
    drain(batch);
    const again = batch.add(ask(4_000, 10, { talk: 1 }), 10_000);
    const other = batch.add(ask(4_000, 10, { talk: 2 }), 20_000);
    drain(batch);
    const waited = (sequence: Sequence): number => (sequence.firstTokenAt ?? 0) - sequence.arrivedAt;
    // A token has to be computed for the next one to come of it.
    expect(again.cachedTokens).toBe(3_984);
    expect(other.cachedTokens).toBe(0);
    expect(waited(again)).toBeLessThan(waited(first) / 5);
    expect(waited(other)).toBeCloseTo(waited(first));
  });

  test('reaches into the answer, for who goes on with the talk', () => {
    const { batch } = observed();
    batch.add(ask(160, 161, { talk: 1 }), 0);
    drain(batch);
    expect(batch.countCachedTokens(ask(1_000, 10, { talk: 1 }))).toBe(320);
  });

  test('is found while its first owner is still at work', () => {
    const { batch } = observed();
    batch.add(ask(4_000, 500, { talk: 1 }), 0);
    batch.advance(500);
    expect(batch.add(ask(4_000, 10, { talk: 1 }), 500).cachedTokens).toBe(0);
    batch.advance(600);
    expect(batch.totals.cachedTokens).toBe(3_984);
    drain(batch);
    expect(batch.memoryUse).toBe(0);
  });

  test('goes when its place is needed, the one that was unused for longest first', () => {
    const { batch } = observed({ model: { ...h100, cacheTokens: 1_000 } });
    for (const [index, talk] of [1, 2, 1].entries()) {
      batch.add(ask(320, 1, { talk }), index * 10_000);
      drain(batch);
    }
    batch.add(ask(480, 1, { talk: 3 }), 40_000);
    drain(batch);
    const found = (talk: number): number => batch.countCachedTokens(ask(321, 1, { talk }));
    expect(found(1)).toBe(320);
    expect(found(3)).toBeGreaterThan(0);
    // Its end went, which is of use to fewer; its beginning can still be found.
    expect(found(2)).toBeLessThan(320);
    expect(found(2)).toBeGreaterThan(0);
  });
});

describe('who waits', () => {
  test('is taken up by priority, then by who came first', () => {
    const { batch, happened } = observed({ maxSequences: 1 });
    batch.add(ask(100, 50), 0);
    const late = batch.add(ask(100, 5, { priority: 1 }), 1);
    const [a, b] = [batch.add(ask(100, 5), 2), batch.add(ask(100, 5), 3)];
    expect([batch.running, batch.waiting]).toEqual([1, 3]);
    drain(batch);
    const order = happened.filter(({ what }) => what === 'first').map(({ sequence }) => sequence);
    expect(order.slice(1)).toEqual([a, b, late]);
  });

  test('does not go past one that is before and finds no memory', () => {
    const { batch, happened } = observed({ model: { ...h100, cacheTokens: 1_000 } });
    const holder = batch.add(ask(600, 100), 0);
    const large = batch.add(ask(700, 10), 1);
    const small = batch.add(ask(10, 10), 2);
    drain(batch);
    expect(happened.filter(({ what }) => what === 'first').map(({ sequence }) => sequence)).toEqual([
      holder,
      large,
      small,
    ]);
  });
});

describe('who comes with a better priority', () => {
  test('goes ahead of one that is before and finds no memory', () => {
    const { batch } = observed({ model: { ...h100, cacheTokens: 1_000 } });
    const holder = batch.add(ask(600, 300, { priority: 1 }), 0);
    const large = batch.add(ask(700, 10, { priority: 1 }), 1);
    batch.advance(200);
    const urgent = batch.add(ask(10, 10), 200);
    drain(batch);
    expect(urgent.firstTokenAt).toBeLessThan(250);
    expect(large.firstTokenAt).toBeGreaterThan(holder.finishedAt ?? 0);
  });
});

describe('when memory runs out', () => {
  test('who came last gives theirs, begins anew, and still has its whole answer', () => {
    const { batch, happened } = observed({ model: { ...h100, cacheTokens: 500 } });
    const sequences = [batch.add(ask(100, 300), 0), batch.add(ask(100, 300), 1)];
    drain(batch);
    expect(batch.totals.preemptions).toBeGreaterThan(0);
    expect(sequences.map((sequence) => batch.countGenerated(sequence))).toEqual([300, 300]);
    expect(sequences.map(({ preemptions }) => preemptions > 0)).toEqual([false, true]);
    expect(happened.map(({ what }) => what).sort()).toEqual(['finished', 'finished', 'first', 'first']);
    // What it had generated is computed anew as well, and is no prompt of anybody's.
    expect(batch.totals.recomputedTokens).toBeGreaterThan(200 * batch.totals.preemptions);
    expect(batch.totals).toMatchObject({ generatedTokens: 600, promptTokens: 200 });
  });
});

describe('cancelling', () => {
  test('frees the place at once, and counts the token that was under way', () => {
    const { batch } = observed({ maxSequences: 1 });
    const sequence = batch.add(ask(100, 1_000), 0);
    const next = batch.add(ask(100, 5), 1);
    batch.advance(1_000);
    const before = batch.countGenerated(sequence);
    expect(before).toBeGreaterThan(1);
    batch.cancel(sequence, 1_000);
    expect([batch.running, batch.memoryUse]).toEqual([0, 0]);
    expect(batch.totals.generatedAfterCancel).toBe(1);
    drain(batch);
    expect(batch.countGenerated(sequence)).toBe(before);
    expect(next.firstTokenAt).toBeLessThan(1_050);
    expect(batch.totals.generatedTokens).toBe(before + 5);
  });

  test('wastes no token of one that would not have got any', () => {
    const { batch } = observed({ maxSequences: 1, stepTokens: 64 });
    const [prefilling, waiting] = [batch.add(ask(4_000, 10), 0), batch.add(ask(100, 5), 1)];
    batch.cancel(waiting, 2);
    batch.cancel(prefilling, 3);
    expect(batch.totals.generatedAfterCancel).toBe(0);
    expect(batch.memoryUse).toBe(0);
  });

  test('does nothing to one that has ended', () => {
    const { batch } = observed();
    const sequence = batch.add(ask(100, 5), 0);
    drain(batch);
    const { finishedAt } = sequence;
    batch.cancel(sequence, 50_000);
    expect(sequence).toMatchObject({ state: 'finished', finishedAt });
  });
});

describe('whatever is asked of it', () => {
  const small: StepModel = { ...h100, cacheTokens: 600 };
  const options = { model: small, maxSequences: 4, stepTokens: 64 };
  const operation = fc.record({
    afterMs: fc.integer({ min: 0, max: 120 }),
    promptTokens: fc.integer({ min: 1, max: 400 }),
    outputTokens: fc.integer({ min: 1, max: 150 }),
    priority: fc.integer({ min: 0, max: 2 }),
    talk: fc.integer({ min: -1, max: 3 }),
    cancelAfterMs: fc.option(fc.integer({ min: 0, max: 2_000 }), { freq: 3 }),
  });
  type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

  /** Does all of it in the order of time, and looks in between at `looks`. */
  function perform(operations: readonly Operation[], looks: readonly number[] = []) {
    const { batch, happened } = observed(options);
    const sequences: Sequence[] = [];
    const actions: { at: number; act: (at: number) => void }[] = looks.map((at) => ({
      at,
      act: (now) => batch.advance(now),
    }));
    let at = 0;
    for (const [
      index,
      { afterMs, promptTokens, outputTokens, priority, talk, cancelAfterMs },
    ] of operations.entries()) {
      at += afterMs;
      const request = ask(promptTokens, outputTokens, { talk, priority });
      actions.push({ at, act: (now) => (sequences[index] = batch.add(request, now)) });
      const cancel = (now: number): void => {
        const sequence = sequences[index];
        if (sequence !== undefined) batch.cancel(sequence, now);
      };
      if (cancelAfterMs !== null) actions.push({ at: at + cancelAfterMs + 0.5, act: cancel });
    }
    for (const action of actions.sort((a, b) => a.at - b.at)) {
      action.act(action.at);
      expect(batch.running).toBeLessThanOrEqual(options.maxSequences);
      expect(batch.memoryUse).toBeLessThanOrEqual(1);
      expect(batch.memoryUse).toBeGreaterThanOrEqual(0);
    }
    drain(batch);
    return { batch, happened, sequences };
  }

  const operations = fc.array(operation, { minLength: 1, maxLength: 25 });

  test('each request ends once, time goes on, tokens are conserved, and nothing is left in memory', () => {
    fc.assert(
      fc.property(operations, (all) => {
        const { batch, happened, sequences } = perform(all);
        expect([batch.running, batch.waiting, batch.memoryUse]).toEqual([0, 0, 0]);
        for (const { request, state, arrivedAt, firstTokenAt = Number.POSITIVE_INFINITY, finishedAt } of sequences) {
          expect(['finished', 'cancelled']).toContain(state);
          if (state === 'finished') expect(firstTokenAt).toBeLessThanOrEqual(finishedAt ?? 0);
          expect(firstTokenAt).toBeGreaterThan(arrivedAt);
          expect(request.outputTokens).toBeGreaterThan(0);
        }
        const finished = sequences.filter(({ state }) => state === 'finished');
        for (const sequence of finished) expect(batch.countGenerated(sequence)).toBe(sequence.request.outputTokens);
        expect(batch.totals.generatedTokens).toBe(sequences.reduce((sum, each) => sum + batch.countGenerated(each), 0));
        const begun = happened.filter(({ what }) => what === 'first').map(({ sequence }) => sequence);
        expect(new Set(begun).size).toBe(begun.length);
        const told = happened.filter(({ what }) => what === 'finished').map(({ sequence }) => sequence);
        expect(new Set(told)).toEqual(new Set(finished));
        expect(told.length).toBe(finished.length);
        expect(happened.map(({ at }) => at)).toEqual(happened.map(({ at }) => at).sort((a, b) => a - b));
        expect(batch.nextEventAt()).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });

  test('the same comes out, to the last bit', () => {
    fc.assert(
      fc.property(operations, (all) => {
        const [one, two] = [perform(all), perform(all)].map(({ happened }) =>
          happened.map(({ what, at }) => [what, at]),
        );
        expect(two).toEqual(one);
      }),
    );
  });

  test('it does not matter how often one looks', () => {
    const looks = fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 30 });
    fc.assert(
      fc.property(operations, looks, (all, when) => {
        const [one, two] = [perform(all), perform(all, when)];
        expect(two.happened.length).toBe(one.happened.length);
        for (const [index, { what, at, sequence }] of one.happened.entries()) {
          expect(two.happened[index]).toMatchObject({ what, sequence: { order: sequence.order } });
          expect(two.happened[index]?.at).toBeCloseTo(at, 6);
        }
        expect(two.batch.totals.busyMs).toBeCloseTo(one.batch.totals.busyMs, 6);
      }),
    );
  });

  test('nothing happens before the time that it names', () => {
    fc.assert(
      fc.property(operations, (all) => {
        const { batch, happened } = observed(options);
        for (const { promptTokens, outputTokens, priority, talk } of all) {
          batch.add(ask(promptTokens, outputTokens, { priority, talk }), 0);
        }
        for (let next = batch.nextEventAt(); next < Number.POSITIVE_INFINITY; next = batch.nextEventAt()) {
          const before = happened.length;
          batch.advance(next);
          expect(happened.slice(before).every(({ at }) => at === next)).toBe(true);
        }
        expect(happened.filter(({ what }) => what === 'finished').length).toBe(all.length);
      }),
    );
  });

  test('who is told of an end may ask for more at once', () => {
    let left = 20;
    const batch: Batch = new Batch({
      ...options,
      blockTokens: BLOCK,
      onFinished: (_, at) => {
        left -= 1;
        if (left > 0) batch.add(ask(100, 10), at);
      },
    });
    batch.add(ask(100, 10), 0);
    drain(batch);
    expect(left).toBe(0);
    expect(batch.totals.generatedTokens).toBe(200);
  });
});
