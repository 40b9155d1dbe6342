import { expect, it } from 'vitest';
import { measureIdle } from '../../bench/idle-run.ts';

it('an idle stage publishes no custom metrics, though its environments are kept warm', async () => {
  const { customMetrics, logBytes } = await measureIdle();
  expect(customMetrics).toBe(0);
  // The warm-up reports on each of the four functions.
  expect(logBytes['warmup']).toBeGreaterThan(400);
});
