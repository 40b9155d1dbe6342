import { expect, it } from 'vitest';
import { createStepFailureReport } from '../../../shared/api/step-failure.ts';
import { createLogger } from '../../../shared/core/logger.ts';
import { createMetrics } from '../../../shared/core/metrics.ts';
import { aJob } from '../jobs/jobs.ts';

/** Creates a report that writes what it logs, measures and sends to lists. */
function createReport(send: () => Promise<void> = async () => {}) {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line));
  const logger = createLogger({ level: 'info', fields: {}, write });
  const metrics = createMetrics('test', write);
  const telemetry = {
    metrics,
    forRequest: () => ({ logger: logger.forRequest({}), metrics: metrics.forRequest() }),
  };
  const sent: unknown[] = [];
  const report = createStepFailureReport(
    'https://dlq',
    async (url, text, group) => {
      await send();
      sent.push([url, JSON.parse(text), group]);
    },
    telemetry,
  );
  return { report, lines, sent };
}

it('a completion step that was given up is sent to the dead-letter queue, logged and counted', async () => {
  const { report, lines, sent } = createReport();
  await report(aJob(), 'reply', new Error('queue gone'));
  const message = { version: 1, type: 'failed-step', tenant: 'acme', id: 'resp_1', step: 'reply' };
  expect(sent).toEqual([['https://dlq', message, 'acme']]);
  expect(lines).toMatchObject([
    { level: 'error', message: 'completion step given up', jobId: 'resp_1', step: 'reply' },
    { JobStepsFailed: 1 },
  ]);
});

it('a completion step is not given up if the dead-letter queue takes no message', async () => {
  const { report, lines } = createReport(() => Promise.reject(new Error('throttled')));
  await expect(report(aJob(), 'reply', new Error('queue gone'))).rejects.toThrow('throttled');
  expect(lines).toEqual([]);
});
