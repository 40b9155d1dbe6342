import { describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../../../../shared/core/errors.ts';
import type { Slot } from '../../../../../shared/gpu/placement/slot.ts';
import { UpstreamError } from '../../../../../shared/inference/model.ts';
import { type Blame, WorkerFailure } from '../../../../../shared/inference/providers/gpu/failure.ts';
import {
  createTimedOutWorkers,
  WorkerFailureTracker,
} from '../../../../../shared/inference/providers/gpu/worker-failure-tracker.ts';
import { FLEET } from '../../../gpu/fleets.ts';

function createSlot(id: string, otherWorkers = 2): Slot {
  return {
    worker: { fleet: FLEET, id, url: `http://${id}:8000/v1`, bootId: 'boot-1' },
    leaseId: `lease-${id}`,
    cachedTokens: 0,
    prefillTokens: 0,
    otherWorkers,
    waitedMs: 0,
    markFirstToken: async () => {},
    release: async () => {},
    lost: new AbortController().signal,
  };
}

function createFailure(blame: Blame, { code = 'upstream_unavailable' as ErrorCode, canRetryElsewhere = true } = {}) {
  return new WorkerFailure(new UpstreamError(code, blame, { recovery: 'nextTarget' }), blame, canRetryElsewhere);
}

/** Creates a tracker that records the ids of suspected workers. */
function createTracker(timedOut = createTimedOutWorkers()) {
  const suspects: string[] = [];
  const tracker = new WorkerFailureTracker(timedOut, async ({ worker }) => void suspects.push(worker.id));
  return { tracker, suspects };
}

describe('WorkerFailureTracker', () => {
  it('the tracker suspects a worker at once for blame `always`, and not for blame `never`', async () => {
    const { tracker, suspects } = createTracker();
    await tracker.recordFailure(createSlot('w1'), createFailure('always'));
    await tracker.recordFailure(createSlot('w2'), createFailure('never'));
    expect(suspects).toEqual(['w1']);
    expect([...tracker.failedWorkers]).toEqual(['w1', 'w2']);
  });

  it('the tracker suspects only the first worker of a call for blame `oncePerCall`', async () => {
    const { tracker, suspects } = createTracker();
    await tracker.recordFailure(createSlot('w1'), createFailure('oncePerCall'));
    await tracker.recordFailure(createSlot('w2'), createFailure('oncePerCall'));
    expect(suspects).toEqual(['w1']);
  });

  it('the tracker suspects the other workers for blame `oncePerCall` once another worker answers', async () => {
    const { tracker, suspects } = createTracker();
    for (const id of ['w1', 'w2']) await tracker.recordFailure(createSlot(id), createFailure('oncePerCall'));
    await tracker.recordAnswer(createSlot('w3'));
    expect(suspects).toEqual(['w1', 'w2']);
  });

  it('the tracker suspects a worker for blame `ifAnotherAnswers` once another worker answers', async () => {
    const { tracker, suspects } = createTracker();
    await tracker.recordFailure(createSlot('w1'), createFailure('ifAnotherAnswers'));
    expect(suspects).toEqual([]);
    await tracker.recordAnswer(createSlot('w2'));
    await tracker.recordAnswer(createSlot('w2'));
    expect(suspects).toEqual(['w1']);
  });

  it('the tracker suspects a worker for the second failure in a row with blame `ifRepeated`', async () => {
    const timedOut = createTimedOutWorkers();
    const failOnce = async () => {
      const { tracker, suspects } = createTracker(timedOut);
      await tracker.recordFailure(createSlot('w1'), createFailure('ifRepeated', { canRetryElsewhere: false }));
      return suspects;
    };
    expect(await failOnce()).toEqual([]);
    await createTracker(timedOut).tracker.recordAnswer(createSlot('w1'));
    expect(await failOnce()).toEqual([]);
    await createTracker(timedOut).tracker.recordFailure(createSlot('w1'), createFailure('never'));
    expect(await failOnce()).toEqual([]);
    expect(await failOnce()).toEqual(['w1']);
  });

  it('the tracker reports the error of the third failed worker, and of any failure that is not retried', async () => {
    const { tracker } = createTracker();
    expect(await tracker.recordFailure(createSlot('w1'), createFailure('never'))).toBeUndefined();
    expect(await tracker.recordFailure(createSlot('w2'), createFailure('never'))).toBeUndefined();
    expect(await tracker.recordFailure(createSlot('w3'), createFailure('never'))).toMatchObject({ message: 'never' });
    const failure = createFailure('never', { canRetryElsewhere: false });
    expect(await createTracker().tracker.recordFailure(createSlot('w1'), failure)).toBe(failure.error);
  });

  it('the tracker reports a failure after the first token without trying another worker', async () => {
    const { tracker } = createTracker();
    await tracker.recordAnswer(createSlot('w1'));
    const failure = createFailure('always', { code: 'upstream_cut' });
    expect(await tracker.recordFailure(createSlot('w1'), failure)).toBe(failure.error);
  });

  it('the tracker reports one broken connection as an outage, and a second one as upstream_cut', async () => {
    const { tracker } = createTracker();
    const broken = createFailure('always', { code: 'upstream_cut' });
    await tracker.recordFailure(createSlot('w1'), broken);
    expect(tracker.error).toMatchObject({ code: 'upstream_unavailable' });
    await tracker.recordFailure(createSlot('w2'), broken);
    expect(tracker.error).toMatchObject({ code: 'upstream_cut' });
    await tracker.recordFailure(createSlot('w3'), createFailure('always'));
    expect(tracker.error).toMatchObject({ code: 'upstream_cut' });
  });

  it('the tracker reports a broken connection of the only worker as upstream_cut', async () => {
    const { tracker } = createTracker();
    await tracker.recordFailure(createSlot('w1', 0), createFailure('always', { code: 'upstream_cut' }));
    expect(tracker.error).toMatchObject({ code: 'upstream_cut' });
  });
});
