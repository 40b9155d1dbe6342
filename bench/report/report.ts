import type { Machine } from '../../test/measure/machine.ts';

/** A ratio that a benchmark must not exceed, or must reach. */
export interface Budget {
  /** What is compared, as a phrase: `chat, cold, against a bare handler`. */
  readonly metric: string;
  readonly ours: Figure;
  readonly against: Figure;
  /** `ours` divided by `against` may be at most this; must be at least this with `isFloor`. */
  readonly limit: number;
  readonly isFloor?: boolean;
}

/** One side of a ratio. */
export interface Figure {
  readonly label: string;
  readonly value: number;
  /** `ms`, `requests/s`… */
  readonly unit: string;
}

/** Text cells under text headings; the first column is text, the others are figures. */
export interface Table {
  readonly caption: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export type Chart = BarChart | LineChart;

/** Horizontal bars in groups, all of one unit. */
export interface BarChart {
  readonly title: string;
  readonly unit: string;
  readonly groups: readonly { readonly label: string; readonly bars: readonly Bar[] }[];
}

export interface Bar {
  readonly label: string;
  readonly value: number;
}

/** Values over time or something else, all of one unit. */
export interface LineChart {
  readonly title: string;
  readonly unit: string;
  /** What stands for seconds when it isn't time that goes along the chart: its unit, `×`. */
  readonly along?: string;
  readonly series: readonly Series[];
}

export interface Series {
  readonly label: string;
  /** In order of time, or of what stands for it. */
  readonly points: readonly { readonly seconds: number; readonly value: number }[];
}

/** What a benchmark found. */
export interface Report {
  /** File name of its page: `cold`. */
  readonly name: string;
  readonly title: string;
  /** Paragraphs: what was measured, what each side includes, and what the figures don't say. */
  readonly method: readonly string[];
  readonly tables: readonly Table[];
  readonly budgets: readonly Budget[];
  readonly charts: readonly Chart[];
  /** Paragraphs below the figures: what keeps them from being better, and what was left as it is and why. */
  readonly limits?: readonly string[];
  /** Every value that was measured, for whoever wants to look closer. */
  readonly data: unknown;
}

/** A report with where and when it was made, as it is kept as JSON. */
export interface Record {
  /** ISO date and time. */
  readonly date: string;
  readonly machine: Machine;
  readonly report: Report;
}

/** `ours` as a multiple of `against`. */
export function computeRatio({ ours, against }: Budget): number {
  return ours.value / against.value;
}

/** Whether the budget is kept. */
export function isMet(budget: Budget): boolean {
  return budget.isFloor === true ? computeRatio(budget) >= budget.limit : computeRatio(budget) <= budget.limit;
}

/** `1,234`, `12.3`, `0.123`: three digits that matter. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return value.toLocaleString('en-US', { maximumSignificantDigits: Math.abs(value) >= 1000 ? 4 : 3 });
}

/** A budget in one line, both sides named: what a reader must see to believe the ratio. */
export function formatBudget(budget: Budget): string {
  const { metric, ours, against, limit, isFloor = false } = budget;
  const side = ({ label, value, unit }: Figure) => `${label} ${formatNumber(value)} ${unit}`;
  const verdict = isMet(budget) ? 'kept' : 'MISSED';
  return `${metric}: ${formatNumber(computeRatio(budget))}× (${side(ours)}, ${side(against)}); budget ${isFloor ? '≥' : '≤'} ${formatNumber(limit)}×: ${verdict}`;
}
