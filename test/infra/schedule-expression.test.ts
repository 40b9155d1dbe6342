import { expect, it } from 'vitest';
import { isCron, isRate } from '../../infra/schedule-expression.ts';

it.each(['rate(1 minute)', 'rate(5 minutes)', 'rate(1 day)', 'rate(12 hours)'])('%s is a rate', (text) => {
  expect(isRate(text)).toBe(true);
});

it.each(['rate(5 minute)', 'rate(1 minutes)', 'rate(0 minutes)', 'rate(5 seconds)', 'rate(-1 day)', '5 minutes'])(
  '%s is no rate',
  (text) => expect(isRate(text)).toBe(false),
);

it.each([
  'cron(0 8 ? * MON-FRI *)',
  'cron(15 10 * * ? *)',
  'cron(0/15 * * * ? *)',
  'cron(0,30 8-17 1W * ? 2026-2030)',
  'cron(0 9 L JAN,JUL ? *)',
  'cron(0 9 ? * 6#1 *)',
  'cron(0 9 ? * 6L *)',
])('%s is a cron expression', (text) => expect(isCron(text)).toBe(true));

it.each([
  ['has five fields', 'cron(0 8 * * MON-FRI)'],
  ['has * for both days', 'cron(0 8 * * * *)'],
  ['has ? for both days', 'cron(0 8 ? * ? *)'],
  ['has a minute above 59', 'cron(60 8 ? * MON *)'],
  ['has an hour above 23', 'cron(0 24 ? * MON *)'],
  ['has a range that ends above 23', 'cron(0 8-24 ? * MON *)'],
  ['has a day 0', 'cron(0 8 0 * ? *)'],
  ['has a month 13', 'cron(0 8 1 13 ? *)'],
  ['has an unknown day', 'cron(0 8 ? * MO *)'],
  ['has a step of 0', 'cron(0/0 8 ? * MON *)'],
  ['has a year before 1970', 'cron(0 8 ? * MON 1969)'],
  ['has two spaces', 'cron(0  8 ? * MON *)'],
  ['has ? in a list', 'cron(0 8 ?,1 * MON *)'],
  ['lacks its name', '0 8 ? * MON *'],
])('a cron expression is rejected that %s', (_what, text) => expect(isCron(text)).toBe(false));
