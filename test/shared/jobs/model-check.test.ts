import { describe, expect, it } from 'vitest';
import type { Job } from '../../../shared/jobs/job.ts';
import type { Condition } from '../../../shared/jobs/ports.ts';
import { START } from './jobs.ts';
import { type Check, checkJobs } from './model-check.ts';

/** Outlives a lease. */
const LONG = 46_000;
/** Calls for a heartbeat; two of them outlive a lease. */
const SHORT = 23_000;

const scenarios: Record<string, Check> = {
  'two workers, a duplicate, a sweep': { budget: { workers: 2, duplicates: 1, sweeps: 1, ticks: 1 }, tickMs: LONG },
  'two workers, a duplicate, heartbeats': { budget: { workers: 2, duplicates: 1, ticks: 2 }, tickMs: SHORT },
  'two workers, a duplicate, a cancel, heartbeats': {
    budget: { workers: 2, duplicates: 1, cancels: 1, ticks: 2 },
    tickMs: SHORT,
  },
  'two workers, a duplicate, a cancel, a delete': {
    budget: { workers: 2, duplicates: 1, cancels: 1, deletes: 1, ticks: 1 },
    tickMs: LONG,
  },
  'two workers, a sweep, a cancel, a delete': {
    budget: { workers: 2, sweeps: 1, cancels: 1, deletes: 1, ticks: 1 },
    tickMs: LONG,
  },
  'two workers, a duplicate, a sweep, a cancel, a delete, while a lease lasts': {
    budget: { workers: 2, duplicates: 1, sweeps: 1, cancels: 1, deletes: 1 },
  },
  'a model that throttles or is cut off': { budget: { workers: 2, troubles: 2, ticks: 1 }, tickMs: LONG },
  'a model that is cut off and asked again at once, a cancel': {
    budget: { workers: 2, duplicates: 1, cancels: 1, troubles: 2 },
  },
  'a worker of another lane, a duplicate': { budget: { workers: 3, duplicates: 1, ticks: 1 }, tickMs: LONG },
  'a worker of another lane, a cancel, a sweep': { budget: { workers: 3, cancels: 1, sweeps: 1 } },
  'answers of the table that are lost': { budget: { workers: 2, duplicates: 1, losses: 2, ticks: 1 }, tickMs: LONG },
  'a deadline that passes': {
    budget: { workers: 2, sweeps: 1, ticks: 2 },
    tickMs: LONG,
    job: { deadline: START + LONG + 1_000 },
  },
  'a cancel as the deadline passes': {
    budget: { workers: 1, sweeps: 1, cancels: 1, ticks: 2 },
    tickMs: LONG,
    job: { deadline: START + LONG + 1_000 },
  },
  'a cancel of a last attempt that crashed': {
    budget: { workers: 1, sweeps: 1, cancels: 1, ticks: 1 },
    tickMs: LONG,
    job: { attempts: 2 },
  },
  'a job that is told of and then forgotten': {
    budget: { workers: 2, sweeps: 1, ticks: 1 },
    tickMs: LONG,
    job: { replyTo: 'answers', stored: false },
  },
  'a last attempt': {
    budget: { workers: 2, sweeps: 1, ticks: 1, troubles: 1 },
    tickMs: LONG,
    job: { attempts: 2 },
  },
};

describe('in every interleaving a job ends once, stays so, and is never lost', () => {
  it.each(Object.entries(scenarios))('with %s', async (_name, check) => {
    const { states } = await checkJobs(check);
    expect(states).toBeGreaterThan(50);
  });
});

describe('the check would find', () => {
  const without =
    (...fields: (keyof Job)[]) =>
    (guard: readonly Condition[]) =>
      guard.filter(({ field }) => !fields.includes(field));

  it.each<[string, (keyof Job)[], Check['budget'], RegExp]>([
    ['a commit that needs no epoch', ['epoch'], { workers: 2, duplicates: 1, ticks: 1 }, /is not its own/],
    ['a claim that ignores a living lease', ['leaseExpiresAt'], { workers: 2, duplicates: 1 }, /held job was claimed/],
    ['a status that guards nothing', ['status'], { workers: 2, duplicates: 1 }, /was completed was claimed|became/],
    [
      'an answer to what was cancelled',
      ['cancelRequested'],
      { workers: 1, cancels: 1 },
      /cancelled job became completed/,
    ],
    [
      'a claim of what was cancelled',
      ['cancelRequested'],
      { workers: 2, duplicates: 1, cancels: 1, ticks: 1 },
      /after its cancel|cancelled job became/,
    ],
    ['attempts that nobody counts', ['attempts'], { workers: 1, ticks: 1 }, /more than three times/],
  ])('%s', async (_name, fields, budget, finding) => {
    const job = fields.includes('attempts') ? { attempts: 3 } : {};
    await expect(checkJobs({ budget, job, mutation: without(...fields), tickMs: LONG })).rejects.toThrow(finding);
  });
});
