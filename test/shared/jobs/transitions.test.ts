import { describe, expect, it } from 'vitest';
import { changed, holds } from '../../../shared/jobs/conditions.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import type { JobChange } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import {
  begin,
  cancelQueued,
  claim,
  commit,
  completed,
  endCancelled,
  expire,
  giveUp,
  lookAgain,
  recover,
  release,
  renew,
  requestCancel,
  type Transition,
  ticketDropped,
  ticketSent,
} from '../../../shared/jobs/transitions.ts';
import { aJob, HOUR_MS, START } from './jobs.ts';

const NOW = START + 1_000;
const { leaseMs, graceMs, firstLookMs, wakeMs, completionMs } = JOB_TIMINGS;
const DEADLINE = START + HOUR_MS;
const GPU = { lane: 'gpu' } as const;

const waiting = aJob({ duePartition: 'wait#jobs#0', dueAt: DEADLINE });
const waking = aJob({ duePartition: 'wake#jobs#0', dueAt: START + 30_000 });
const held = aJob({
  ...{ status: 'in_progress', epoch: 1, owner: 'w', startedAt: START, leaseExpiresAt: NOW + leaseMs },
  ...{ duePartition: 'run#jobs#0', dueAt: START },
});
const dead: Job = { ...held, leaseExpiresAt: NOW - graceMs };
const ended = aJob({ status: 'completed', fanIn: ['reply'], duePartition: 'step#0', dueAt: NOW });
const output = { place: 'table', epoch: 1, sizeBytes: 1 } as const;
const terms = { owner: 'w', alone: false, whole: true };
const pause = { notBefore: NOW + 2_000, asked: true, ticket: true };

/** Each transition with a job for which its guard holds, and the entry that it writes. */
const CASES: readonly [string, Job, Transition, JobChange['index']][] = [
  ['claim', waiting, claim(terms, NOW, JOB_TIMINGS), { purpose: 'run', queue: 'jobs', dueAt: NOW }],
  [
    'claim on the lane of GPU workers',
    aJob(GPU),
    claim({ ...terms, ...GPU }, NOW, JOB_TIMINGS),
    { purpose: 'run', queue: 'gpu', dueAt: NOW },
  ],
  ['renew', held, renew(held, NOW, JOB_TIMINGS), undefined],
  ['begin', held, begin(held, NOW, JOB_TIMINGS), undefined],
  ['requestCancel', held, requestCancel(), undefined],
  [
    'release with its ticket',
    held,
    release(held, pause, JOB_TIMINGS),
    { purpose: 'wait', queue: 'jobs', dueAt: pause.notBefore + firstLookMs },
  ],
  [
    'release without a ticket',
    held,
    release(held, { ...pause, ticket: false }, JOB_TIMINGS),
    { purpose: 'wake', queue: 'jobs', dueAt: pause.notBefore },
  ],
  [
    'release to another lane',
    held,
    release(held, { ...pause, ...GPU, ticket: false }, JOB_TIMINGS),
    { purpose: 'wake', queue: 'gpu', dueAt: pause.notBefore },
  ],
  [
    'release beyond the deadline',
    held,
    release(held, { ...pause, notBefore: DEADLINE + 1 }, JOB_TIMINGS),
    { purpose: 'wait', queue: 'jobs', dueAt: DEADLINE },
  ],
  [
    'release beyond the deadline without a ticket',
    held,
    release(held, { ...pause, notBefore: DEADLINE + 1, ticket: false }, JOB_TIMINGS),
    { purpose: 'wake', queue: 'jobs', dueAt: DEADLINE },
  ],
  ['recover', dead, recover(dead, NOW, JOB_TIMINGS), { purpose: 'wake', queue: 'jobs', dueAt: NOW + wakeMs }],
  [
    "recover of an earlier version's claim, which has no ticket",
    { ...dead, duePartition: 'due#3' },
    recover({ ...dead, duePartition: 'due#3' }, NOW, JOB_TIMINGS),
    { purpose: 'wake', queue: 'jobs', dueAt: NOW },
  ],
  [
    'ticketSent',
    waking,
    ticketSent(waking, NOW, JOB_TIMINGS),
    { purpose: 'wait', queue: 'jobs', dueAt: NOW + firstLookMs },
  ],
  [
    'ticketSent for a job that pauses',
    { ...waking, notBefore: NOW + 5_000 },
    ticketSent({ ...waking, notBefore: NOW + 5_000 }, NOW, JOB_TIMINGS),
    { purpose: 'wait', queue: 'jobs', dueAt: NOW + 5_000 + firstLookMs },
  ],
  ['ticketDropped', waiting, ticketDropped(waiting, NOW, JOB_TIMINGS), { purpose: 'wake', queue: 'jobs', dueAt: NOW }],
  ['commit without completion steps', held, commit(held, { status: 'completed', output }, NOW, JOB_TIMINGS), 'none'],
  [
    'commit with completion steps',
    { ...held, replyTo: 'answers' },
    commit({ ...held, replyTo: 'answers' }, { status: 'completed', output }, NOW, JOB_TIMINGS),
    { purpose: 'step', dueAt: NOW + completionMs },
  ],
  ['cancelQueued', waiting, cancelQueued(waiting, NOW, JOB_TIMINGS), 'none'],
  [
    'endCancelled',
    { ...dead, cancelRequested: true },
    endCancelled({ ...dead, cancelRequested: true }, NOW, JOB_TIMINGS),
    { purpose: 'step', dueAt: NOW + completionMs },
  ],
  [
    'expire',
    { ...dead, deadline: NOW },
    expire({ ...dead, deadline: NOW }, NOW, JOB_TIMINGS),
    { purpose: 'step', dueAt: NOW + completionMs },
  ],
  ['giveUp', { ...waiting, attempts: 3 }, giveUp({ ...waiting, attempts: 3 }, NOW, JOB_TIMINGS), 'none'],
  ['completed', ended, completed(), 'none'],
  [
    'lookAgain at a job with a ticket',
    waiting,
    lookAgain(waiting, NOW, JOB_TIMINGS),
    { purpose: 'wait', queue: 'jobs', dueAt: NOW },
  ],
  [
    'lookAgain at a job without a ticket',
    waking,
    lookAgain(waking, NOW, JOB_TIMINGS),
    { purpose: 'wake', queue: 'jobs', dueAt: NOW },
  ],
  [
    "lookAgain at an earlier version's job in progress",
    { ...held, duePartition: 'due#3' },
    lookAgain({ ...held, duePartition: 'due#3' }, NOW, JOB_TIMINGS),
    { purpose: 'run', queue: 'jobs', dueAt: START },
  ],
  ['lookAgain at an ended job', ended, lookAgain(ended, NOW + 5, JOB_TIMINGS), { purpose: 'step', dueAt: NOW + 5 }],
];

describe('the index entry', () => {
  it.each(CASES)('of %s has its purpose, queue and time', (_name, job, { guard, change }, index) => {
    expect(holds(guard, job)).toBe(true);
    expect(change.index).toEqual(index);
  });

  it('is written by every transition that changes the status', () => {
    for (const [name, , { change }] of CASES) {
      if (change.set?.status !== undefined) expect(change.index, name).toBeDefined();
    }
  });
});

describe('a claim', () => {
  const claimable = (changes: Partial<Job>, more: Partial<typeof terms> = {}) =>
    holds(claim({ ...terms, ...more }, NOW, JOB_TIMINGS).guard, aJob(changes));

  it.each<[string, Partial<Job>, boolean]>([
    ['that waits', {}, true],
    ['of an earlier version, which counts no asks and no crashes', { attempts: 2 }, true],
    ['whose pause is over', { notBefore: NOW }, true],
    ['that pauses', { notBefore: NOW + 1 }, false],
    ['that is in progress', { status: 'in_progress' }, false],
    ['whose lease is dead: it is recovered first', { status: 'in_progress', leaseExpiresAt: 1 }, false],
    ['that has ended', { status: 'completed' }, false],
    ['whose deadline has passed', { deadline: NOW }, false],
    ['with three attempts', { attempts: 3 }, false],
    ['with 127 asks', { asks: 127 }, true],
    ['with 128 asks', { asks: 128 }, false],
  ])('of a job %s is allowed or not', (_name, changes, isAllowed) => {
    expect(claimable(changes)).toBe(isAllowed);
  });

  it('of a suspect needs an environment that runs nothing else', () => {
    expect(claimable({ crashes: 1 })).toBe(false);
    expect(claimable({ crashes: 1 }, { alone: true })).toBe(true);
  });

  it('of a job that was cut off needs a whole invocation', () => {
    expect(claimable({ cutOff: true }, { whole: false })).toBe(false);
    expect(claimable({ cutOff: true })).toBe(true);
  });

  it('leaves nothing of an earlier attempt', () => {
    const limited = { errorCode: 'rate_limit_exceeded', errorLimit: 'key.requestsPerDay' };
    const earlier = aJob({ ...limited, cutOff: true, begun: true, alone: true, notBefore: START });
    const { status, owner, epoch, asks, ...rest } = changed(earlier, claim(terms, NOW, JOB_TIMINGS).change);
    expect({ status, owner, epoch, asks }).toEqual({ status: 'in_progress', owner: 'w', epoch: 1, asks: 1 });
    for (const field of ['errorCode', 'errorLimit', 'cutOff', 'begun', 'alone', 'notBefore'])
      expect(rest).not.toHaveProperty(field);
  });
});

describe('a ticket', () => {
  it.each<[string, Partial<Job>]>([
    ['claimed', { epoch: 1, status: 'in_progress' }],
    ['released by another', { epoch: 1 }],
    ['moved by the sweep', { dueAt: START + 1 }],
  ])('is not recorded as sent for a job that was %s meanwhile', (_name, changes) => {
    expect(holds(ticketSent(waking, NOW, JOB_TIMINGS).guard, { ...waking, ...changes })).toBe(false);
  });

  it('is not dropped for a job that was claimed or ended meanwhile', () => {
    const { guard } = ticketDropped(waiting, NOW, JOB_TIMINGS);
    expect(holds(guard, { ...waiting, status: 'in_progress', epoch: 1 })).toBe(false);
    expect(holds(guard, { ...waiting, status: 'cancelled' })).toBe(false);
  });
});

describe('a recovery', () => {
  it.each<[string, Partial<Job>, object]>([
    ['of an attempt beside others', {}, { crashes: 1, attempts: 0 }],
    ['of an attempt whose model had begun to answer', { begun: true, attempts: 1 }, { crashes: 1, attempts: 1 }],
    ['of an attempt that ran alone', { alone: true, crashes: 1 }, { crashes: 2, attempts: 1 }],
    [
      'of an attempt that ran alone and had begun',
      { alone: true, begun: true, crashes: 1, attempts: 1 },
      { crashes: 2, attempts: 1 },
    ],
  ])('%s counts the crash, and the attempt only once', (_name, changes, counts) => {
    const job = { ...dead, ...changes };
    const after = changed(job, recover(job, NOW, JOB_TIMINGS).change);
    expect(after).toMatchObject({ status: 'queued', ...counts });
    for (const field of ['owner', 'leaseExpiresAt', 'begun', 'alone']) expect(after).not.toHaveProperty(field);
  });

  it('counts no crash and no attempt if the table was not available when the lease ended', () => {
    const alone: Job = { ...dead, alone: true };
    const after = changed(alone, recover(alone, NOW, JOB_TIMINGS, alone.leaseExpiresAt).change);
    expect(after).toMatchObject({ status: 'queued', attempts: 0 });
    expect(after.crashes).toBeUndefined();
    const before = (alone.leaseExpiresAt ?? 0) - 1;
    expect(changed(alone, recover(alone, NOW, JOB_TIMINGS, before).change)).toMatchObject({ attempts: 1, crashes: 1 });
  });

  it('is refused before the grace period is over, and after a cancel was requested', () => {
    const { guard } = recover(dead, NOW, JOB_TIMINGS);
    expect(holds(guard, { ...dead, leaseExpiresAt: NOW - graceMs + 1 })).toBe(false);
    expect(holds(guard, { ...dead, cancelRequested: true })).toBe(false);
  });
});

it.each<[string, Job, Transition]>([
  ['begin', held, begin(held, NOW, JOB_TIMINGS)],
  ['renew', held, renew(held, NOW, JOB_TIMINGS)],
  ['release', held, release(held, pause, JOB_TIMINGS)],
  ['commit', held, commit(held, { status: 'completed', output }, NOW, JOB_TIMINGS)],
  ['recover', dead, recover(dead, NOW, JOB_TIMINGS)],
  ['ticketSent', waking, ticketSent(waking, NOW, JOB_TIMINGS)],
  ['ticketDropped', waiting, ticketDropped(waiting, NOW, JOB_TIMINGS)],
  ['lookAgain', waiting, lookAgain(waiting, NOW, JOB_TIMINGS)],
])('the transition %s is refused after another claim', (_name, job, { guard }) => {
  expect(holds(guard, job)).toBe(true);
  expect(holds(guard, { ...job, epoch: job.epoch + 1 })).toBe(false);
});

it.each<[string, Job, (job: Job) => Transition]>([
  ['expire', { ...dead, deadline: NOW }, (job) => expire(job, NOW, JOB_TIMINGS)],
  ['giveUp', { ...dead, attempts: 3 }, (job) => giveUp(job, NOW, JOB_TIMINGS)],
  ['endCancelled', { ...dead, cancelRequested: true }, (job) => endCancelled(job, NOW, JOB_TIMINGS)],
])('the transition %s is refused until the grace period of the lease is over', (_name, job, transition) => {
  const { guard } = transition(job);
  expect(holds(guard, job)).toBe(true);
  expect(holds(guard, { ...job, leaseExpiresAt: NOW - graceMs + 1 })).toBe(false);
});

it("the sweep's next look is refused after another transition that gave the job the same time", () => {
  const { guard } = lookAgain(waiting, NOW, JOB_TIMINGS);
  expect(holds(guard, { ...waiting, status: 'cancelled' })).toBe(false);
});

it('the beginning of an answer extends the lease', () => {
  const job = { ...held, leaseExpiresAt: NOW };
  expect(changed(job, begin(job, NOW, JOB_TIMINGS).change)).toMatchObject({ leaseExpiresAt: NOW + leaseMs });
});

describe('a release', () => {
  const pause = { notBefore: NOW, asked: true, ticket: true };
  const releaseWith = (changes: object) => changed(held, release(held, { ...pause, ...changes }, JOB_TIMINGS).change);

  it('counts an attempt and asks for a whole invocation only if it says so', () => {
    expect(releaseWith({})).toMatchObject({ attempts: 0, releases: 1 });
    expect(releaseWith({})).not.toHaveProperty('cutOff');
    expect(releaseWith({ counts: true, cutOff: true })).toMatchObject({ attempts: 1, cutOff: true });
  });

  it('takes back the ask of a model that was not asked', () => {
    const asked = { ...held, asks: 1 };
    const countAsks = (isAsked: boolean) =>
      changed(asked, release(asked, { ...pause, asked: isAsked }, JOB_TIMINGS).change).asks;
    expect(countAsks(true)).toBe(1);
    expect(countAsks(false)).toBe(0);
  });
});
