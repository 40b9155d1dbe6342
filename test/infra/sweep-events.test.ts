import { expect, it } from 'vitest';
import { createSweepEvents } from '../../infra/sweep-events.ts';
import { findByType, packageStage } from './packaged.ts';

it('a stage with several parts of the sweep has a schedule for each, whose event names the part', async () => {
  const template = await packageStage('--param', 'sweepParts=2');
  const rules = findByType(template, 'AWS::Events::Rule').filter(({ id }) => id.startsWith('Sweep'));
  expect(rules.map(({ properties }) => properties)).toMatchObject(
    [0, 1].map((part) => ({
      ScheduleExpression: 'rate(1 minute)',
      Targets: [{ Input: JSON.stringify({ part, parts: 2 }) }],
    })),
  );
});

it('the sweep has 1 to 10 parts', async () => {
  const createWith = (sweepParts: unknown) => createSweepEvents({ resolveVariable: async () => sweepParts });
  expect(await createWith('1')).toEqual([{ schedule: 'rate(1 minute)' }]);
  await expect(createWith(0)).rejects.toThrow('sweepParts is not valid: must be 1 to 10');
  await expect(createWith(11)).rejects.toThrow('sweepParts is not valid: must be 1 to 10');
});
