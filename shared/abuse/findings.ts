import type { AbuseRules, AbuseSign } from '../access/abuse-rules.ts';
import { type ActivityItem, NO_HISTORY } from './activity-table.ts';

/** A sign of abuse in what a key, or a project as a whole, has done in an hour. */
export interface Finding {
  readonly subject: ActivityItem;
  /** The project whose calls are unusual, if that is the sign. */
  readonly project?: ActivityItem;
  readonly sign: AbuseSign;
  /** What was counted, and the least count that is a sign of abuse. */
  readonly value: number;
  readonly threshold: number;
}

const DAY_MS = 86_400_000;

/**
 * Returns the calls of a project's busiest hour among those of the week before. Hours that were reported don't count, so that abuse
 * doesn't become usual. Returns `NO_HISTORY` if the first hour that counts is less than a day earlier.
 */
export function computeUsual(history: readonly ActivityItem[], hour: number): number {
  const ordinary = history.filter(({ reported }) => !reported.has('rate'));
  if (!ordinary.some((each) => each.hour <= hour - DAY_MS)) return NO_HISTORY;
  return Math.max(...ordinary.map(({ calls }) => calls));
}

/** Returns the signs of abuse in the activity of one key. */
export function findInKey(key: ActivityItem, rules: AbuseRules): Finding[] {
  const listFindings = (sign: AbuseSign, value: number, threshold: number | null): Finding[] =>
    threshold !== null && value >= threshold ? [{ subject: key, sign, value, threshold }] : [];
  return [
    ...listFindings('networks', key.networks.size, rules.networksPerHour),
    ...listFindings('refusals', key.refusals, rules.refusalsPerHour),
  ];
}

/**
 * Returns a finding if a project is used far more than usual. Its subject is the key with at least half of the calls, if it is
 * among `keys`, or else the project, so that a key is not held for the calls of others.
 */
export function findUnusualRate(
  project: ActivityItem,
  keys: readonly ActivityItem[],
  { timesUsualRate, leastCallsPerHour }: AbuseRules,
): Finding[] {
  const { usual = NO_HISTORY, calls } = project;
  if (timesUsualRate === null || usual === NO_HISTORY) return [];
  const threshold = Math.max(leastCallsPerHour, Math.ceil(timesUsualRate * usual));
  if (calls < threshold) return [];
  const subject = keys.find((key) => key.calls * 2 >= calls) ?? project;
  return [{ subject, project, sign: 'rate', value: calls, threshold }];
}
