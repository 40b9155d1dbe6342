import { expect, it } from 'vitest';
import { readEntries } from '../../../shared/audit/entry.ts';
import { createLogger } from '../../../shared/core/logger.ts';
import { createMetrics } from '../../../shared/core/metrics.ts';
import { reportHit } from '../../../shared/safety/report-hit.ts';
import { readUsage } from '../../../shared/usage/usage-row.ts';

it('a match of a rule or guardrail is an entry of the audit log, and counts as no usage', () => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const logger = createLogger({ level: 'error', fields: {}, write }).forRequest({
    ...{ requestId: 'req', tenant: 'acme', keyId: 'key_1', model: 'small' },
    ...{ inputTokens: 5, outputTokens: 7 },
  });
  const metrics = createMetrics('lambent-dev-chat', () => {}).forRequest();
  reportHit({ logger, metrics }, { kind: 'guardrail', rule: 'strict', side: 'output', action: 'refuse' });
  const batch = { id: 'batch', logGroup: 'group', logStream: 'stream', lines };
  const { entries, unreadable } = readEntries(batch);
  expect(unreadable).toBe(0);
  expect(entries).toMatchObject([
    {
      record: 'guardrail',
      ...{ kind: 'guardrail', rule: 'strict', side: 'output', action: 'refuse' },
      ...{ requestId: 'req', tenant: 'acme', keyId: 'key_1', model: 'small' },
    },
  ]);
  expect(entries.map(readUsage)).toEqual([[]]);
});
