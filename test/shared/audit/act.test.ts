import { expect, it } from 'vitest';
import { logAct } from '../../../shared/audit/act.ts';
import { createLogger } from '../../../shared/core/logger.ts';

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
