import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Batch, type BatchOptions } from '../../../local/engine/batch.ts';
import type { EngineRequest, Sequence } from '../../../local/engine/sequence.ts';
import { computeStepMs, countHalfPairs, STEP_MODELS, type StepModel } from '../../../local/engine/step-model.ts';

const BLOCK = 16;
const { h100 } = STEP_MODELS;

/** Creates a batch and records its events. */
function createRecordedBatch(options: Partial<BatchOptions> = {}) {
  const events: { type: 'first' | 'finished'; sequence: Sequence; at: number }[] = [];
  const batch = new Batch({
    model: h100,
    maxSequences: 8,
    stepTokens: 512,
    blockTokens: BLOCK,
    onFirstToken: (sequence, at) => events.push({ type: 'first', sequence, at }),
    onFinished: (sequence, at) => events.push({ type: 'finished', sequence, at }),
    ...options,
  });
  return { batch, events };
}

/** Returns a request that shares its prefix with all others of the same conversation. */
function createRequest(
  promptTokens: number,
  outputTokens: number,
  { conversation = -1, priority = 0 } = {},
): EngineRequest {
  const count = conversation < 0 ? 0 : Math.floor((promptTokens + outputTokens) / BLOCK);
  const blocks = Array.from({ length: count }, (_, index) => conversation * 1_000 + index);
  return { promptTokens, outputTokens, priority, blocks };
}

const drain = (batch: Batch): void => batch.advance(Number.POSITIVE_INFINITY);

describe('step duration', () => {
  it('a step takes the larger of memory time and compute time, plus cache reads and attention', () => {
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

  it('the attention of a prompt is the same however it is split into chunks', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), (a, b) => {
        expect(countHalfPairs(a, 0) + countHalfPairs(b, a)).toBe(countHalfPairs(a + b, 0));
      }),
    );
  });
});

describe('a single request', () => {
  it('a request gets its first token after its prefill and each further token after one step', () => {
    const { batch } = createRecordedBatch({ stepTokens: 1_024 });
    const sequence = batch.add(createRequest(1_000, 3), 100);
    drain(batch);
    const prefill = computeStepMs(h100, 1_000, 0, countHalfPairs(1_000, 0));
    expect(sequence.firstTokenAt).toBeCloseTo(100 + prefill, 9);
    const decode = computeStepMs(h100, 1, 1_001, 0) + computeStepMs(h100, 1, 1_002, 0);
    expect(sequence.finishedAt).toBeCloseTo(100 + prefill + decode, 9);
  });

  it('a long prompt is computed in chunks of at most the tokens of a step', () => {
    const { batch } = createRecordedBatch({ stepTokens: 512 });
    const sequence = batch.add(createRequest(1_000, 1), 0);
    drain(batch);
    const chunks =
      computeStepMs(h100, 512, 0, countHalfPairs(512, 0)) + computeStepMs(h100, 488, 0, countHalfPairs(488, 512));
    expect(sequence.firstTokenAt).toBeCloseTo(chunks);
    expect(sequence.finishedAt).toBe(sequence.firstTokenAt);
  });

  it('a prefill chunk leaves one token of each step to each decoding sequence', () => {
    const { batch } = createRecordedBatch({ stepTokens: 512 });
    const other = batch.add(createRequest(100, 1_000), 0);
    batch.advance(100);
    const sequence = batch.add(createRequest(1_023, 1), 100);
    const begins = batch.nextEventAt();
    const context = 100 + batch.countGenerated(other);
    drain(batch);
    const chunk = (tokens: number, before: number): number =>
      computeStepMs(h100, tokens + 1, context, countHalfPairs(tokens, before));
    // The other sequence's context grows meanwhile, by too little to matter at this precision.
    expect(sequence.firstTokenAt).toBeCloseTo(begins + chunk(511, 0) + chunk(511, 511) + chunk(1, 1_022), 2);
  });

  it('a request that exceeds the memory or has no output tokens is rejected', () => {
    const { batch } = createRecordedBatch();
    expect(() => batch.add(createRequest(h100.cacheTokens, 1), 0)).toThrow(RangeError);
    expect(() => batch.add(createRequest(10, 0), 0)).toThrow(RangeError);
  });
});

describe('the prefix cache', () => {
  it('a shared prefix is computed once, so the second request gets its first token earlier', () => {
    const { batch } = createRecordedBatch();
    const first = batch.add(createRequest(4_000, 10, { conversation: 1 }), 0);
    drain(batch);
    const again = batch.add(createRequest(4_000, 10, { conversation: 1 }), 10_000);
    const other = batch.add(createRequest(4_000, 10, { conversation: 2 }), 20_000);
    drain(batch);
    const waited = (sequence: Sequence): number => (sequence.firstTokenAt ?? 0) - sequence.arrivedAt;
    // At least one prompt token must be computed.
    expect(again.cachedTokens).toBe(3_984);
    expect(other.cachedTokens).toBe(0);
    expect(waited(again)).toBeLessThan(waited(first) / 5);
    expect(waited(other)).toBeCloseTo(waited(first));
  });

  it('the blocks of an answer are cached for the next turn of the conversation', () => {
    const { batch } = createRecordedBatch();
    batch.add(createRequest(160, 161, { conversation: 1 }), 0);
    drain(batch);
    expect(batch.countCachedTokens(createRequest(1_000, 10, { conversation: 1 }))).toBe(320);
  });

  it('a prefix can be reused while the request that computed it still runs', () => {
    const { batch } = createRecordedBatch();
    batch.add(createRequest(4_000, 500, { conversation: 1 }), 0);
    batch.advance(500);
    expect(batch.add(createRequest(4_000, 10, { conversation: 1 }), 500).cachedTokens).toBe(0);
    batch.advance(600);
    expect(batch.totals.cachedTokens).toBe(3_984);
    drain(batch);
    expect(batch.memoryUse).toBe(0);
  });

  it('the cached blocks that were unused the longest are evicted first', () => {
    const { batch } = createRecordedBatch({ model: { ...h100, cacheTokens: 1_000 } });
    for (const [index, conversation] of [1, 2, 1].entries()) {
      batch.add(createRequest(320, 1, { conversation }), index * 10_000);
      drain(batch);
    }
    batch.add(createRequest(480, 1, { conversation: 3 }), 40_000);
    drain(batch);
    const countCached = (conversation: number): number =>
      batch.countCachedTokens(createRequest(321, 1, { conversation }));
    expect(countCached(1)).toBe(320);
    expect(countCached(3)).toBeGreaterThan(0);
    // The prefix's end was evicted, which fewer prompts share. Its beginning is still cached.
    expect(countCached(2)).toBeLessThan(320);
    expect(countCached(2)).toBeGreaterThan(0);
  });
});

describe('admission', () => {
  it('waiting requests are admitted by priority, then by arrival', () => {
    const { batch, events } = createRecordedBatch({ maxSequences: 1 });
    batch.add(createRequest(100, 50), 0);
    const late = batch.add(createRequest(100, 5, { priority: 1 }), 1);
    const [a, b] = [batch.add(createRequest(100, 5), 2), batch.add(createRequest(100, 5), 3)];
    expect([batch.running, batch.waiting]).toEqual([1, 3]);
    drain(batch);
    const order = events.filter(({ type }) => type === 'first').map(({ sequence }) => sequence);
    expect(order.slice(1)).toEqual([a, b, late]);
  });

  it('a small request does not overtake an earlier one of the same priority that waits for memory', () => {
    const { batch, events } = createRecordedBatch({ model: { ...h100, cacheTokens: 1_000 } });
    const holder = batch.add(createRequest(600, 100), 0);
    const large = batch.add(createRequest(700, 10), 1);
    const small = batch.add(createRequest(10, 10), 2);
    drain(batch);
    expect(events.filter(({ type }) => type === 'first').map(({ sequence }) => sequence)).toEqual([
      holder,
      large,
      small,
    ]);
  });
});

describe('priority', () => {
  it('a request with a better priority overtakes an earlier one that waits for memory', () => {
    const { batch } = createRecordedBatch({ model: { ...h100, cacheTokens: 1_000 } });
    const holder = batch.add(createRequest(600, 300, { priority: 1 }), 0);
    const large = batch.add(createRequest(700, 10, { priority: 1 }), 1);
    batch.advance(200);
    const urgent = batch.add(createRequest(10, 10), 200);
    drain(batch);
    expect(urgent.firstTokenAt).toBeLessThan(250);
    expect(large.firstTokenAt).toBeGreaterThan(holder.finishedAt ?? 0);
  });
});

describe('preemption', () => {
  it('the latest sequence is preempted when memory runs out, and still gets its complete answer', () => {
    const { batch, events } = createRecordedBatch({ model: { ...h100, cacheTokens: 500 } });
    const sequences = [batch.add(createRequest(100, 300), 0), batch.add(createRequest(100, 300), 1)];
    drain(batch);
    expect(batch.totals.preemptions).toBeGreaterThan(0);
    expect(sequences.map((sequence) => batch.countGenerated(sequence))).toEqual([300, 300]);
    expect(sequences.map(({ preemptions }) => preemptions > 0)).toEqual([false, true]);
    expect(events.map(({ type }) => type).sort()).toEqual(['finished', 'finished', 'first', 'first']);
    // Tokens that it had generated are computed again too, and do not count as prompt tokens.
    expect(batch.totals.recomputedTokens).toBeGreaterThan(200 * batch.totals.preemptions);
    expect(batch.totals).toMatchObject({ generatedTokens: 600, promptTokens: 200 });
  });
});

describe('cancellation', () => {
  it('cancelling a decoding sequence frees its slot at once and counts the token of the current step', () => {
    const { batch } = createRecordedBatch({ maxSequences: 1 });
    const sequence = batch.add(createRequest(100, 1_000), 0);
    const next = batch.add(createRequest(100, 5), 1);
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

  it('cancelling a waiting or prefilling sequence wastes no token', () => {
    const { batch } = createRecordedBatch({ maxSequences: 1, stepTokens: 64 });
    const [prefilling, waiting] = [batch.add(createRequest(4_000, 10), 0), batch.add(createRequest(100, 5), 1)];
    batch.cancel(waiting, 2);
    batch.cancel(prefilling, 3);
    expect(batch.totals.generatedAfterCancel).toBe(0);
    expect(batch.memoryUse).toBe(0);
  });

  it('cancelling a finished sequence does nothing', () => {
    const { batch } = createRecordedBatch();
    const sequence = batch.add(createRequest(100, 5), 0);
    drain(batch);
    const { finishedAt } = sequence;
    batch.cancel(sequence, 50_000);
    expect(sequence).toMatchObject({ state: 'finished', finishedAt });
  });
});

describe('any sequence of operations', () => {
  const small: StepModel = { ...h100, cacheTokens: 600 };
  const options = { model: small, maxSequences: 4, stepTokens: 64 };
  const operation = fc.record({
    afterMs: fc.integer({ min: 0, max: 120 }),
    promptTokens: fc.integer({ min: 1, max: 400 }),
    outputTokens: fc.integer({ min: 1, max: 150 }),
    priority: fc.integer({ min: 0, max: 2 }),
    conversation: fc.integer({ min: -1, max: 3 }),
    cancelAfterMs: fc.option(fc.integer({ min: 0, max: 2_000 }), { freq: 3 }),
  });
  type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

  /** Performs the operations in the order of their times, and advances the batch at `polls` in between. */
  function perform(operations: readonly Operation[], polls: readonly number[] = []) {
    const { batch, events } = createRecordedBatch(options);
    const sequences: Sequence[] = [];
    const actions: { at: number; act: (at: number) => void }[] = polls.map((at) => ({
      at,
      act: (now) => batch.advance(now),
    }));
    let at = 0;
    for (const [
      index,
      { afterMs, promptTokens, outputTokens, priority, conversation, cancelAfterMs },
    ] of operations.entries()) {
      at += afterMs;
      const request = createRequest(promptTokens, outputTokens, { conversation, priority });
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
    return { batch, events, sequences };
  }

  const operations = fc.array(operation, { minLength: 1, maxLength: 25 });

  it('each request ends once, events are in order, no token is lost and the memory is empty at the end', () => {
    fc.assert(
      fc.property(operations, (all) => {
        const { batch, events, sequences } = perform(all);
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
        const started = events.filter(({ type }) => type === 'first').map(({ sequence }) => sequence);
        expect(new Set(started).size).toBe(started.length);
        const reported = events.filter(({ type }) => type === 'finished').map(({ sequence }) => sequence);
        expect(new Set(reported)).toEqual(new Set(finished));
        expect(reported.length).toBe(finished.length);
        expect(events.map(({ at }) => at)).toEqual(events.map(({ at }) => at).sort((a, b) => a - b));
        expect(batch.nextEventAt()).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });

  it('the same operations give exactly the same events', () => {
    fc.assert(
      fc.property(operations, (all) => {
        const [one, two] = [perform(all), perform(all)].map(({ events }) => events.map(({ type, at }) => [type, at]));
        expect(two).toEqual(one);
      }),
    );
  });

  it('the events do not depend on how often the batch is advanced', () => {
    const polls = fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 30 });
    fc.assert(
      fc.property(operations, polls, (all, when) => {
        const [one, two] = [perform(all), perform(all, when)];
        expect(two.events.length).toBe(one.events.length);
        for (const [index, { type, at, sequence }] of one.events.entries()) {
          expect(two.events[index]).toMatchObject({ type, sequence: { order: sequence.order } });
          expect(two.events[index]?.at).toBeCloseTo(at, 6);
        }
        expect(two.batch.totals.busyMs).toBeCloseTo(one.batch.totals.busyMs, 6);
      }),
    );
  });

  it('no event happens before the time that nextEventAt returns', () => {
    fc.assert(
      fc.property(operations, (all) => {
        const { batch, events } = createRecordedBatch(options);
        for (const { promptTokens, outputTokens, priority, conversation } of all) {
          batch.add(createRequest(promptTokens, outputTokens, { priority, conversation }), 0);
        }
        for (let next = batch.nextEventAt(); next < Number.POSITIVE_INFINITY; next = batch.nextEventAt()) {
          const before = events.length;
          batch.advance(next);
          expect(events.slice(before).every(({ at }) => at === next)).toBe(true);
        }
        expect(events.filter(({ type }) => type === 'finished').length).toBe(all.length);
      }),
    );
  });

  it('an onFinished callback can add the next request', () => {
    let left = 20;
    const batch: Batch = new Batch({
      ...options,
      blockTokens: BLOCK,
      onFinished: (_, at) => {
        left -= 1;
        if (left > 0) batch.add(createRequest(100, 10), at);
      },
    });
    batch.add(createRequest(100, 10), 0);
    drain(batch);
    expect(left).toBe(0);
    expect(batch.totals.generatedTokens).toBe(200);
  });
});
