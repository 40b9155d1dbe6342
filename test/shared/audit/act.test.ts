import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { logAct } from '../../../shared/audit/act.ts';
import { createLogger } from '../../../shared/core/logger.ts';

/** Returns the line of an act with details. */
function logDetails(details: Readonly<Record<string, unknown>>): string {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', fields: {}, write: (line) => void lines.push(line) });
  logAct({ logger: logger.forRequest({}) }, { type: 'project.updated', objectId: 'proj_1', details });
  return lines.join('');
}

it('an administrative act is logged with its actor and object, whatever the level of logging', () => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const logger = createLogger({ level: 'error', fields: {}, write }).forRequest({ requestId: 'req', keyId: 'key_1' });
  logAct({ logger }, { type: 'project.updated', objectId: 'proj_1', project: 'proj_1', details: { title: 'New' } });
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    {
      message: 'administrative act',
      record: 'act',
      act: 'project.updated',
      ...{ requestId: 'req', keyId: 'key_1', objectId: 'proj_1', project: 'proj_1' },
      details: '{"title":"New"}',
    },
  ]);
});

it('details above 32 KB are replaced by their size in bytes and their hash', () => {
  const largest = { title: 'é'.repeat(16_000) };
  expect(JSON.parse(JSON.parse(logDetails(largest)).details)).toEqual(largest);
  const larger = { title: 'é'.repeat(17_000) };
  const text = JSON.stringify(larger);
  const sha256 = createHash('sha256').update(text).digest('hex');
  expect(JSON.parse(JSON.parse(logDetails(larger)).details)).toEqual({
    omitted: { size_bytes: Buffer.byteLength(text), sha256 },
  });
});

it.each(['"', '\\', '\u0000', '语'])(
  'the line of an act stays below 256 KB whatever its details have: %j',
  (character) => {
    for (const length of [5_000, 10_000, 16_000, 32_000, 1_000_000])
      expect(Buffer.byteLength(logDetails({ title: character.repeat(length) }))).toBeLessThan(256_000);
  },
);
