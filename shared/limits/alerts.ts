import type { SpendAlert } from '../access/limit-policy.ts';
import { type LeasedCap, type Level, toPicodollars } from './caps.ts';
import type { Counters, CounterWrite } from './counters.ts';

/** An alert whose amount calls have used or reserved. */
export interface PassedAlert {
  readonly alert: SpendAlert;
  readonly level: Level;
  readonly window: string;
}

/** Called with the alerts that were passed, each once in a window. */
export type ReportAlerts = (passed: readonly PassedAlert[]) => unknown;

/** Name of the counter with the largest amount of a window that was reported. */
function getMarkName(id: string, window: string): string {
  return `A.${window}.${id}`;
}

/**
 * Returns what a pool's root may grant before the next alert: the lowest amount that was not reported, or its cap. So an alert
 * is passed only when what was granted before is used up.
 * @param counters the root's item
 */
export function computeCeiling(
  { max, alerts = [] }: LeasedCap,
  id: string,
  window: string,
  counters: Counters,
): bigint {
  const reported = counters[getMarkName(id, window)] ?? 0n;
  const ahead = alerts.map(({ dollars }) => toPicodollars(dollars)).filter((amount) => amount > reported);
  return ahead.reduce((lowest, each) => (each < lowest ? each : lowest), max);
}

/**
 * Returns the write that marks the alerts up to an amount as reported, and these alerts. Only the caller whose write succeeds
 * reports them. Undefined if all were reported before.
 * @param counters the item with the marks
 */
export function markPassed(
  { level, max, alerts = [] }: LeasedCap,
  { pk, id, window }: { readonly pk: string; readonly id: string; readonly window: string },
  amount: bigint,
  counters: Counters,
): { readonly write: CounterWrite; readonly passed: readonly PassedAlert[] } | undefined {
  const mark = getMarkName(id, window);
  const before = counters[mark];
  const passed = alerts.filter(({ dollars }) => {
    const each = toPicodollars(dollars);
    return each <= amount && each <= max && each > (before ?? 0n);
  });
  if (passed.length === 0) return undefined;
  const highest = toPicodollars(Math.max(...passed.map(({ dollars }) => dollars)));
  return {
    write: { pk, set: { [mark]: highest }, equal: { [mark]: before } },
    passed: passed.map((alert) => ({ alert, level, window })),
  };
}
