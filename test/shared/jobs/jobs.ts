import type { Job } from '../../../shared/jobs/job.ts';
import type { JobInput } from '../../../shared/jobs/ports.ts';
import { makeRequest } from '../inference/requests.ts';

/** When the tests' clocks begin: epoch milliseconds. Far from now: by the real clock, too, no job of a test has expired. */
export const START = 4_000_000_000_000;
export const HOUR_MS = 3_600_000;

/** A job that waits, with whatever a test wants otherwise. */
export function aJob(changes: Partial<Job> = {}): Job {
  return {
    tenant: 'acme',
    id: 'resp_1',
    endpoint: '/v1/responses',
    model: 'default',
    status: 'queued',
    epoch: 0,
    attempts: 0,
    releases: 0,
    tier: 'default',
    deadline: START + HOUR_MS,
    cancelRequested: false,
    background: true,
    streamed: false,
    stored: true,
    createdAt: START,
    input: { place: 'table', epoch: 0, sizeBytes: 100 },
    expiresAt: (START + 24 * HOUR_MS) / 1000,
    ...changes,
  };
}

/** What a job is asked. */
export function anInput(changes: Partial<JobInput> = {}): JobInput {
  return { body: { model: 'default', input: 'Hello' }, generation: makeRequest(), ...changes };
}
