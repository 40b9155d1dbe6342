import { expect, it } from 'vitest';
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
