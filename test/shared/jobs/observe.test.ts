import { expect, it } from 'vitest';
import { observeOutcome } from '../../../shared/jobs/observe.ts';
import type { Outcome } from '../../../shared/jobs/worker-ports.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { aJob, START } from './jobs.ts';

/** Returns what is written for an outcome: log lines without, and metrics with their units. */
function observe(outcome: Outcome) {
  const telemetry = recordTelemetry();
  observeOutcome(outcome, { startedAt: START + 2_000, now: START + 9_000 }, telemetry);
  const published = telemetry.lines.filter(({ _aws }) => _aws !== undefined);
  return {
    logged: telemetry.lines.filter(({ message }) => message !== undefined),
    published,
    units: JSON.parse(JSON.stringify(published.map(({ _aws }) => _aws)))
      .flatMap(({ CloudWatchMetrics }: { CloudWatchMetrics: { Metrics: unknown[] }[] }) => CloudWatchMetrics)
      .flatMap(({ Metrics }: { Metrics: unknown[] }) => Metrics),
  };
}

it('an ended job is logged with its ids, and its waiting and running times are published', () => {
  const usage = { inputTokens: 7, cachedInputTokens: 4, outputTokens: 3, reasoningTokens: 0 };
  const job = aJob({ status: 'completed', epoch: 1, attempts: 1, startedAt: START + 5_000, usage });
  const { logged, published, units } = observe({ kind: 'ended', job });
  expect(logged).toMatchObject([
    { level: 'info', message: 'job', outcome: 'ended', tenant: 'acme', jobId: 'resp_1', status: 'completed', epoch: 1 },
  ]);
  expect(logged).toMatchObject([{ record: 'call', inputTokens: 7, cachedInputTokens: 4, outputTokens: 3, ms: 4_000 }]);
  expect(published).toMatchObject([{ Jobs: 1, JobWaitMs: 5_000, JobRunMs: 4_000, Status: 'completed' }]);
  expect(units).toEqual([
    { Name: 'Jobs', Unit: 'Count' },
    { Name: 'JobWaitMs', Unit: 'Milliseconds' },
    { Name: 'JobRunMs', Unit: 'Milliseconds' },
  ]);
});

it('a job that ended before it was claimed waited until its ticket was received', () => {
  const { published } = observe({ kind: 'ended', job: aJob({ status: 'expired' }) });
  expect(published).toMatchObject([{ JobWaitMs: 2_000, JobRunMs: 7_000 }]);
});

it.each([
  [{ kind: 'released', job: aJob(), errorCode: undefined, ticket: true }, 'JobsPaused', 'info', { jobId: 'resp_1' }],
  [{ kind: 'fenced', job: aJob() }, 'JobsFenced', 'info', { outcome: 'fenced' }],
  [{ kind: 'forwarded', job: aJob() }, 'JobsForwarded', 'info', { outcome: 'forwarded' }],
  [
    { kind: 'unneeded', status: 'absent' },
    'TicketsUnneeded',
    'debug',
    { message: 'ticket not needed', status: 'absent' },
  ],
  [
    { kind: 'deferred', reason: 'held', until: START },
    'TicketsDeferred',
    'debug',
    { message: 'ticket deferred', reason: 'held' },
  ],
] as const)('a ticket whose outcome is %j counts as %s', (outcome, metric, level, fields) => {
  const { logged, published, units } = observe(outcome);
  expect(logged).toMatchObject([{ level, ...fields }]);
  expect(published).toMatchObject([{ [metric]: 1 }]);
  expect(units).toEqual([{ Name: metric, Unit: 'Count' }]);
});
