import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { computeIdleCost, type IdleItem, sumIdleCost } from '../../bench/idle-cost.ts';
import type { Template } from '../../infra/template.ts';
import { GPU_MODELS, packageOnce, packageStage } from '../infra/packaged.ts';

const NOTHING = { customMetrics: 0, logBytes: { sweep: 0, warmup: 926 } };

let template: Template;
let items: readonly IdleItem[];
beforeAll(async () => {
  template = await packageStage();
  items = computeIdleCost(template, NOTHING);
});

const getAmount = (label: string) => items.find((item) => item.label.startsWith(label))?.amount;

it('an idle stage costs less than 7 dollars a month at list prices, and less than 5 with the free tier', () => {
  const { dollars, afterFreeTier } = sumIdleCost(items);
  expect(dollars).toBeLessThan(7);
  expect(afterFreeTier).toBeLessThan(5);
});

it('the bill counts the keys, the metrics of alarms, the polled queues and the invocations of the template', () => {
  expect(getAmount('KMS keys')).toBe(3);
  expect(getAmount('metrics of alarms')).toBe(26);
  // Two queues: that of GPU workers is polled only with fleets.
  expect(getAmount('receives')).toBe(2 * 15 * 43_200);
  // The sweep each minute; warmup and the four functions that it warms every five minutes.
  expect(getAmount('invocations')).toBe(43_200 + (1 + 4) * 8_640);
});

it('fleets add alarms, polls and the runs of fleet', async () => {
  const withFleets = computeIdleCost(await packageOnce([], GPU_MODELS), NOTHING);
  expect(sumIdleCost(withFleets).dollars).toBeGreaterThan(sumIdleCost(items).dollars + 1);
});

it('docs/costs.md quotes the bill to the cent', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/costs.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (.+?) \| (\d+\.\d\d) \| (\d+\.\d\d) \|$/gm)].map(([, ...cells]) => cells);
  const quoted = rows.map(([, dollars, afterFreeTier]) => [dollars, afterFreeTier]);
  const computed = [...items.filter(({ amount, dollars }) => amount > 0 && dollars > 0), sumIdleCost(items)];
  expect(quoted).toEqual(computed.map(({ dollars, afterFreeTier }) => [dollars.toFixed(2), afterFreeTier.toFixed(2)]));
});
