import { randomUUID } from 'node:crypto';
import { ACCOUNT_ID } from './lambda/function.ts';
import type { Runner } from './lambda/runner.ts';
import type { Schedule } from './service/service.ts';

export interface ScheduleOptions {
  readonly schedules: readonly Schedule[];
  readonly region: string;
  readonly runner: Pick<Runner, 'invoke'>;
}

export interface Schedules {
  /** Schedules that don't run locally because their expression is not a `rate(…)`. */
  readonly unsupported: readonly Schedule[];
  close(): void;
}

const UNIT_MS: Readonly<Record<string, number>> = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Invokes functions at the rates of their schedules, with EventBridge's event. Failures are in the functions' logs. */
export function startSchedules({ schedules, region, runner }: ScheduleOptions): Schedules {
  const unsupported: Schedule[] = [];
  const timers: NodeJS.Timeout[] = [];
  for (const schedule of schedules) {
    const periodMs = parseRate(schedule.expression);
    if (periodMs === undefined) unsupported.push(schedule);
    else timers.push(setInterval(() => void runSchedule(schedule, region, runner), periodMs).unref());
  }
  return {
    unsupported,
    close() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}

/**
 * Returns the period of an expression such as `rate(5 minutes)` in milliseconds.
 * @returns undefined for any other type of expression
 */
export function parseRate(expression: string): number | undefined {
  const [, count, unit = ''] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression.trim()) ?? [];
  return count === undefined ? undefined : Number(count) * (UNIT_MS[unit] ?? 0);
}

/** Invokes a schedule's function once. Resolves when the invocation has succeeded or failed. */
export async function runSchedule(
  { function: name, input }: Schedule,
  region: string,
  runner: Pick<Runner, 'invoke'>,
): Promise<void> {
  try {
    const { body } = await runner.invoke(name, JSON.stringify(input ?? createScheduledEvent(name, region)));
    body.on('error', () => undefined).resume();
  } catch {
    // EventBridge would retry. The next scheduled run is soon enough here.
  }
}

/**
 * Creates EventBridge's event for a scheduled run.
 * @see https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
 */
function createScheduledEvent(name: string, region: string): object {
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Scheduled Event',
    source: 'aws.events',
    account: ACCOUNT_ID,
    time: `${new Date().toISOString().slice(0, 19)}Z`,
    region,
    resources: [`arn:aws:events:${region}:${ACCOUNT_ID}:rule/${name}`],
    detail: {},
  };
}
