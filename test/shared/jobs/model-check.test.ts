import { describe, expect, it } from 'vitest';
import { isTerminal } from '../../../shared/jobs/job.ts';
import type { Guard, JobChange } from '../../../shared/jobs/ports.ts';
import type { Mutation } from './job-world.ts';
import { START } from './jobs.ts';
import { checkJobs, crashEachWorker, type Scenario } from './model-check.ts';

/** Outlives a lease and its grace period. */
const DEATH = 76_000;
/** Calls for a heartbeat. */
const BEAT = 16_000;
/** After this time the sweep sends a ticket that was not recorded as sent. */
const WAKE = 31_000;
/** Outlives the first pause after a failure, and a retry of a store. */
const PAUSE = 4_000;
/** After this time the sweep runs completion steps. */
const STEP = 61_000;
/** After this time the sweep looks at a waiting job. */
const LOOK = 901_000;

const REPLIED = { replyTo: 'answers' };
const SHORT_LIVED = { deadline: START + DEATH + 1_000 };

const scenarios: Readonly<Record<string, Scenario>> = {
  'a submission, two workers and the sweep': {
    budget: { submissions: 1, sweeps: 1, workers: 2 },
    ticks: [WAKE],
  },
  'a submission, two sweeps and a lagging index': {
    budget: { submissions: 1, workers: 1, sweeps: 2, lags: 1 },
    ticks: [WAKE],
  },
  'a repeated submission, a delete and the sweep': {
    budget: { submissions: 2, deletes: 1, sweeps: 1 },
    ticks: [WAKE],
  },
  'a repeated submission while stores and queues fail': {
    budget: { submissions: 2, workers: 1, faults: 1, losses: 1, refusals: 1 },
  },
  'a submission and the sweep while stores and queues fail': {
    budget: { submissions: 1, workers: 1, sweeps: 1, faults: 1, refusals: 1 },
    ticks: [WAKE],
  },
  'two workers, the sweep and a lease that ends': { budget: { workers: 2, sweeps: 1 }, ticks: [DEATH] },
  'two workers, a duplicate delivery, a cancel and heartbeats': {
    budget: { workers: 2, duplicates: 1, cancels: 1 },
    ticks: [BEAT],
  },
  'two workers, a duplicate delivery, the sweep, a cancel and a delete': {
    budget: { workers: 2, duplicates: 1, sweeps: 1, cancels: 1, deletes: 1 },
  },
  'a worker, the sweep, a cancel and a lease that ends': {
    budget: { workers: 1, sweeps: 1, cancels: 1 },
    ticks: [DEATH],
  },
  'a worker, the sweep, a delete and a lease that ends': {
    budget: { workers: 1, sweeps: 1, deletes: 1 },
    ticks: [DEATH],
  },
  'a worker, two sweeps and a lagging index': { budget: { workers: 1, sweeps: 2, lags: 2 }, ticks: [DEATH] },
  'a reply, a cancel, the sweep and a lagging index': {
    budget: { workers: 1, sweeps: 1, cancels: 1, lags: 1 },
    ticks: [STEP],
    job: REPLIED,
  },
  'a model that fails before or after its first token': {
    budget: { workers: 3, troubles: 3 },
    ticks: [PAUSE, 2 * PAUSE],
  },
  'GPU workers that fail and are asked again at once, and a cancel': {
    budget: { workers: 1, troubles: 2, cancels: 1 },
    job: { lane: 'gpu' },
    onGpus: true,
  },
  'a job that is forwarded, the sweep and a cancel': {
    budget: { workers: 2, sweeps: 1, cancels: 1 },
    onGpus: true,
  },
  'a job that falls back to GPU workers': {
    budget: { workers: 2, troubles: 2, duplicates: 1, sweeps: 1 },
    fallsBack: true,
  },
  'a ticket that is replaced, a duplicate delivery and the sweep': {
    budget: { workers: 2, troubles: 1, duplicates: 1, sweeps: 1 },
    replacing: [2],
    ticks: [PAUSE],
  },
  'a job that yields': { budget: { workers: 3, duplicates: 1, sweeps: 1 }, yielding: [2, 3], ticks: [PAUSE] },
  'a purge of the queue': { budget: { workers: 2, duplicates: 1, purges: 1, replacements: 1, sweeps: 1 } },
  'two workers, a duplicate delivery and responses that are lost': {
    budget: { workers: 2, duplicates: 1, losses: 2 },
  },
  'a worker, the sweep and responses that are lost': { budget: { workers: 1, sweeps: 1, losses: 2 }, ticks: [DEATH] },
  'two workers and a table that refuses requests': { budget: { workers: 2, refusals: 2 }, ticks: [PAUSE, PAUSE] },
  'a worker, the sweep and a table that refuses requests': {
    budget: { workers: 1, sweeps: 1, refusals: 2 },
    ticks: [DEATH],
  },
  'bodies, events, tickets and replies that fail': {
    budget: { workers: 2, sweeps: 1, faults: 2 },
    job: { ...REPLIED, streamed: true },
    ticks: [STEP],
  },
  'invocations that end': { budget: { workers: 3, duplicates: 1, shutdowns: 2 }, late: [2], ticks: [PAUSE] },
  'an answer that is saved, a cancel and a deletion': {
    budget: { workers: 2, cancels: 1, deletes: 1, refusals: 1, shutdowns: 1 },
  },
  'a deadline that passes': { budget: { workers: 1, sweeps: 1 }, job: SHORT_LIVED, ticks: [DEATH, BEAT] },
  'a cancel as the deadline passes': {
    budget: { workers: 1, sweeps: 1, cancels: 1 },
    job: SHORT_LIVED,
    ticks: [DEATH + 2_000],
  },
  'a cancel of a last attempt that crashed': {
    budget: { workers: 1, sweeps: 1, cancels: 1 },
    start: { attempts: 2 },
    ticks: [DEATH],
  },
  'a last attempt that fails': {
    budget: { workers: 2, sweeps: 1, troubles: 1 },
    start: { attempts: 2 },
    ticks: [PAUSE],
  },
  'a suspect': { budget: { workers: 1, sweeps: 1 }, start: { crashes: 1 }, ticks: [DEATH] },
  'a cancel while two sweeps look at a waiting job': {
    budget: { sweeps: 2, cancels: 1, lags: 1 },
    job: REPLIED,
    ticks: [LOOK],
  },
  'a job that is deleted after its reply': {
    budget: { workers: 2, sweeps: 1 },
    job: { ...REPLIED, stored: false },
    ticks: [STEP],
  },
};

describe('A job ends once, stays so, has a ticket or a place in the index, and is never lost', () => {
  it.each(Object.entries(scenarios))('in every interleaving of: %s', async (_name, scenario) => {
    const { states } = await checkJobs(scenario);
    expect(states).toBeGreaterThan(50);
  });
});

describe('A job whose workers all crash', () => {
  it('fails after its fourth worker: one among other jobs, three alone', async () => {
    expect(await crashEachWorker({}, 4)).toMatchObject({ status: 'in_progress', epoch: 4, crashes: 3, attempts: 2 });
    expect(await crashEachWorker({}, 5)).toMatchObject({
      status: 'failed',
      epoch: 4,
      attempts: 3,
      errorCode: 'internal',
    });
  });
});

type Kind = (change: JobChange, guard: Guard) => boolean;

const isClaim: Kind = ({ add }) => add?.epoch !== undefined;
const isBegin: Kind = ({ set }) => set?.begun === true;
const isRelease: Kind = ({ add }) => add?.releases !== undefined;
const isRecovery: Kind = ({ add }) => add?.crashes !== undefined;
const isEnd: Kind = ({ set }) => set?.status !== undefined && isTerminal(set.status);
/** `ticketSent`, and the sweep's next look at a waiting job. */
const isPlacement: Kind = ({ set, add, index }) => set === undefined && add === undefined && typeof index === 'object';
const isAny: Kind = () => true;

/** Leaves out the conditions on some fields. */
function weaken(kind: Kind, ...fields: string[]): Mutation {
  return {
    guard: (guard, change) => (kind(change, guard) ? guard.filter(({ field }) => !fields.includes(field)) : guard),
  };
}

function alter(kind: Kind, change: (change: JobChange) => JobChange): Mutation {
  return { change: (before, guard) => (kind(before, guard) ? change(before) : before) };
}

const withoutIndex = ({ index: _, ...rest }: JobChange): JobChange => rest;

function withoutCounter(counter: 'attempts' | 'crashes') {
  return ({ add, ...rest }: JobChange): JobChange => {
    const { [counter]: _, ...others } = add ?? {};
    return { ...rest, add: others };
  };
}

type Weakness = readonly [name: string, mutation: Mutation, scenario: Scenario, finding: RegExp];

const TWO_WORKERS: Scenario = { budget: { workers: 2, duplicates: 1 } };
const TAKEOVER: Scenario = { budget: { workers: 2 }, ticks: [DEATH] };
const SWEPT: Scenario = { budget: { workers: 1, sweeps: 1 }, ticks: [DEATH] };

const weaknesses: readonly Weakness[] = [
  ['a commit of any attempt', weaken(isEnd, 'epoch'), TAKEOVER, /held job was taken over/],
  ['a claim of a job in progress', weaken(isClaim, 'status'), TWO_WORKERS, /held job was claimed/],
  ['a status that guards nothing', weaken(isAny, 'status'), TWO_WORKERS, /was claimed|became/],
  ['a takeover of a living lease', weaken(isRecovery, 'leaseExpiresAt'), SWEPT, /held job was taken over/],
  [
    'no grace period',
    { timings: { graceMs: 0 } },
    { budget: { workers: 2 }, ticks: [61_000] },
    /held job was taken over/,
  ],
  [
    'an end of a job whose holder lives',
    weaken(isEnd, 'leaseExpiresAt'),
    { budget: { workers: 1, sweeps: 1, cancels: 1 }, ticks: [DEATH] },
    /held job was taken over/,
  ],
  [
    'an answer to a cancelled job',
    weaken(isEnd, 'cancelRequested'),
    { budget: { workers: 1, cancels: 1 } },
    /cancelled job became completed/,
  ],
  [
    'a recovery of a cancelled job',
    weaken(isRecovery, 'cancelRequested'),
    { budget: { workers: 1, sweeps: 1, cancels: 1 }, ticks: [DEATH] },
    /went on after its cancel/,
  ],
  [
    'a claim after the last attempt',
    weaken(isClaim, 'attempts'),
    { budget: { workers: 1 }, start: { attempts: 3 } },
    /more than three times/,
  ],
  [
    'a claim after the deadline',
    weaken(isClaim, 'deadline'),
    { budget: { workers: 1 }, job: { deadline: START + 1_000 }, ticks: [PAUSE] },
    /overdue job was claimed/,
  ],
  [
    'a claim during a pause',
    weaken(isClaim, 'notBefore'),
    { budget: { workers: 2, duplicates: 1, troubles: 1 } },
    /during its pause/,
  ],
  [
    'a claim of a suspect among other jobs',
    weaken(isClaim, 'crashes'),
    { budget: { workers: 1 }, start: { crashes: 1 } },
    /suspect/,
  ],
  [
    'a claim that leaves its index entry',
    alter(isClaim, withoutIndex),
    TWO_WORKERS,
    /in_progress has the index entry wait/,
  ],
  [
    'a claim that is listed late',
    alter(isClaim, (change) =>
      typeof change.index === 'object'
        ? { ...change, index: { ...change.index, dueAt: change.index.dueAt + 1 } }
        : change,
    ),
    TWO_WORKERS,
    /found late/,
  ],
  [
    'a beginning that counts no attempt',
    alter(isBegin, withoutCounter('attempts')),
    TWO_WORKERS,
    /began to answer was not counted/,
  ],
  [
    'a beginning that counts twice',
    weaken(isBegin, 'begun'),
    { budget: { workers: 1, losses: 1 }, ticks: [PAUSE] },
    /counted twice/,
  ],
  [
    'a release that leaves its index entry',
    alter(isRelease, withoutIndex),
    { budget: { workers: 1, troubles: 1 } },
    /queued has the index entry run/,
  ],
  [
    'a recovery that leaves its index entry',
    alter(isRecovery, withoutIndex),
    TAKEOVER,
    /queued has the index entry run/,
  ],
  ['a recovery that counts no crash', alter(isRecovery, withoutCounter('crashes')), TAKEOVER, /crash was not counted/],
  [
    'a recovery that counts no attempt that ran alone',
    alter(isRecovery, withoutCounter('attempts')),
    { ...TAKEOVER, start: { crashes: 1 } },
    /ran alone was not counted/,
  ],
  ['an end that leaves its index entry', alter(isEnd, withoutIndex), TWO_WORKERS, /completed has the index entry run/],
  [
    'a new job without an index entry',
    { unindexed: 'create' },
    { budget: { submissions: 1 } },
    /queued has the index entry none/,
  ],
  [
    'a tombstone without an index entry',
    { unindexed: 'delete' },
    { budget: { deletes: 1 } },
    /tombstone has no index entry/,
  ],
  [
    'a job that is written before its input',
    { program: 'creates the job before its input' },
    { budget: { submissions: 1 } },
    /unfinished job has no input/,
  ],
  [
    'a ticket that is recorded for a claimed job',
    weaken(isPlacement, 'status', 'epoch', 'dueAt'),
    { budget: { submissions: 1, workers: 1 } },
    /in_progress has the index entry wait/,
  ],
  [
    'a look that moves the entry of a claimed job',
    { postponesMoved: true },
    { budget: { workers: 2, sweeps: 1, cancels: 1 }, onGpus: true },
    /found late/,
  ],
  [
    'a release that claims to have a ticket',
    alter(isRelease, (change) =>
      typeof change.index === 'object' && change.index.purpose === 'wake'
        ? { ...change, index: { ...change.index, purpose: 'wait' } }
        : change,
    ),
    { budget: { workers: 1, troubles: 1 }, replacing: [1] },
    /only ticket/,
  ],
  [
    'a ticket that is deleted although its job is held',
    { program: 'deletes deferred tickets' },
    TWO_WORKERS,
    /only ticket/,
  ],
  [
    'a ticket that is deleted although its job waits',
    { program: 'deletes the ticket of a release' },
    { budget: { workers: 1, troubles: 1 } },
    /only ticket/,
  ],
];

describe('The check finds', () => {
  it.each(weaknesses)('%s', async (_name, mutation, scenario, finding) => {
    await expect(checkJobs({ ...scenario, mutation })).rejects.toThrow(finding);
  });
});
