import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Runner } from '../../local/lambda/runner.ts';
import { parseRate, startSchedules } from '../../local/schedules.ts';
import { closeAfterwards, createEmptyResponse, useCleanup } from './runners.ts';

useCleanup();

describe('parseRate', () => {
  it.each([
    { expression: 'rate(1 minute)', expected: 60_000 },
    { expression: 'rate(5 minutes)', expected: 300_000 },
    { expression: 'rate(2 hours)', expected: 7_200_000 },
    { expression: 'rate(1 day)', expected: 86_400_000 },
    { expression: 'cron(0 12 * * ? *)', expected: undefined },
    { expression: 'rate(1 week)', expected: undefined },
  ])('the interval of $expression is $expected ms', ({ expression, expected }) => {
    expect(parseRate(expression)).toBe(expected);
  });
});

describe('startSchedules', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** Creates a runner whose functions return an empty response, and records their names and events. */
  function createRecorder() {
    const calls: { name: string; event: unknown }[] = [];
    const invoke: Runner['invoke'] = async (name, payload) => {
      calls.push({ name, event: JSON.parse(String(payload)) });
      if (name === 'broken') throw new Error('no luck');
      return createEmptyResponse();
    };
    return { calls, runner: { invoke } };
  }

  it("a schedule invokes its function at its rate, with EventBridge's event or its own input", async () => {
    const { calls, runner } = createRecorder();
    const schedules = [
      { function: 'warmup', expression: 'rate(5 minutes)', input: undefined },
      { function: 'sweep', expression: 'rate(1 minute)', input: { all: true } },
      { function: 'broken', expression: 'rate(5 minutes)', input: {} },
      { function: 'nightly', expression: 'cron(0 3 * * ? *)', input: undefined },
    ];
    const { unsupported } = closeAfterwards(startSchedules({ schedules, region: 'eu-west-1', runner }));
    expect(unsupported.map((each) => each.function)).toEqual(['nightly']);
    expect(calls).toEqual([]);
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    const countCalls = (name: string) => calls.filter((call) => call.name === name).length;
    expect([countCalls('warmup'), countCalls('sweep'), countCalls('broken'), countCalls('nightly')]).toEqual([
      2, 10, 2, 0,
    ]);
    expect(calls.find(({ name }) => name === 'sweep')?.event).toEqual({ all: true });
    expect(calls.find(({ name }) => name === 'warmup')?.event).toMatchObject({
      'detail-type': 'Scheduled Event',
      source: 'aws.events',
      region: 'eu-west-1',
      detail: {},
    });
  });

  it('a schedule no longer invokes its function after it is closed', async () => {
    const { calls, runner } = createRecorder();
    const schedules = [{ function: 'warmup', expression: 'rate(1 minute)', input: undefined }];
    startSchedules({ schedules, region: 'eu-west-1', runner }).close();
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(calls).toEqual([]);
  });
});
