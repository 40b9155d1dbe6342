import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { type Circumstances, verdictOn } from '../../../shared/jobs/verdict.ts';
import { aJob, HOUR_MS, START } from './jobs.ts';

const THROTTLED = new UpstreamError('rate_limit_exceeded', 'slow down', { recovery: 'retry' });
const CUT = new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });

/** Returns the verdict on an error that a model which was asked has thrown. */
function judge(thrown: unknown, job: Parameters<typeof aJob>[0] = {}, changes: Partial<Circumstances> = {}) {
  const circumstances = { stop: undefined, progress: 'asked', now: START, random: 1, timings: JOB_TIMINGS } as const;
  return verdictOn(thrown, aJob(job), { ...circumstances, ...changes });
}

describe('an error', () => {
  it('of throttling never fails a job before its model has begun to answer, whatever attempts it had', () => {
    expect(judge(THROTTLED, { attempts: 2 })).toMatchObject({ kind: 'release', counts: false });
    expect(judge(THROTTLED, { attempts: 2 }, { progress: 'begun' })).toMatchObject({ kind: 'end', status: 'failed' });
  });

  it('of a limit names it, and fails a job only if it can never run under the limit', () => {
    const details = { limit: 'key.tokensPerMinute', isUnasked: true } as const;
    const refuse = (isFinal: boolean) => new LambentError('rate_limit_exceeded', 'no', { ...details, isFinal });
    const reason = { errorCode: 'rate_limit_exceeded', errorLimit: 'key.tokensPerMinute' };
    expect(judge(refuse(false), {}, { progress: 'unasked' })).toMatchObject({ kind: 'release', ...reason });
    expect(judge(refuse(true), {}, { progress: 'unasked' })).toEqual({ kind: 'end', status: 'failed', ...reason });
  });

  it('of a policy fails a job at once, with the reason that may be stored', () => {
    const refuse = (details: object) => judge(new LambentError('content_filter', 'It has a secret.', details), {});
    const end = { kind: 'end', status: 'failed', errorCode: 'content_filter' };
    expect(refuse({ refusal: 'It has an e-mail address.' })).toEqual({
      ...end,
      errorRefusal: 'It has an e-mail address.',
    });
    expect(refuse({})).toEqual(end);
  });

  it('that is no outage fails a job at its third attempt', () => {
    expect(judge(CUT, { attempts: 1 })).toMatchObject({ kind: 'release', counts: true });
    expect(judge(CUT, { attempts: 2 })).toMatchObject({ kind: 'end', status: 'failed', errorCode: 'upstream_cut' });
  });

  it('of AWS is an outage of a store', () => {
    const thrown = Object.assign(new Error('throttled'), { $metadata: {} });
    expect(judge(thrown, { attempts: 2 })).toMatchObject({
      kind: 'release',
      errorCode: 'vault_unavailable',
      counts: false,
    });
  });

  it('at the deadline or later ends a job as expired', () => {
    const deadline = START + HOUR_MS;
    for (const now of [deadline, deadline + 1])
      expect(judge(CUT, { deadline }, { now })).toEqual({
        kind: 'end',
        status: 'expired',
        errorCode: 'deadline_exceeded',
      });
    expect(judge(CUT, { deadline }, { now: deadline - 1 })).toMatchObject({ kind: 'release' });
  });

  it('fails a job that has asked its model 128 times', () => {
    expect(judge(THROTTLED, { asks: 127 })).toMatchObject({ kind: 'release' });
    expect(judge(THROTTLED, { asks: 128 })).toMatchObject({ kind: 'end', status: 'failed' });
    expect(judge(THROTTLED, { asks: 128 }, { progress: 'unasked' })).toMatchObject({ kind: 'release' });
  });
});
