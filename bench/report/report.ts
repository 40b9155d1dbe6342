import type { Machine } from '../../test/measure/machine.ts';

/** A limit for the ratio of two figures. */
export interface Budget {
  /** Name of the compared quantity: `cold start to first byte`. */
  readonly metric: string;
  readonly measured: Figure;
  readonly against: Figure;
  /** `measured` divided by `against` may be at most this; must be at least this with `isFloor`. */
  readonly limit: number;
  readonly isFloor?: boolean;
}

/** Numerator or denominator of a ratio. */
export interface Figure {
  readonly label: string;
  readonly value: number;
  /** `ms`, `requests/s`… */
  readonly unit: string;
}

/** A table of text cells. The first column is text, the others are figures. */
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

/** Values over time or over another quantity, all of one unit. */
export interface LineChart {
  readonly title: string;
  readonly unit: string;
  /** Unit of the horizontal axis, such as `×`. Absent: seconds. */
  readonly xUnit?: string;
  readonly series: readonly Series[];
}

export interface Series {
  readonly label: string;
  /** In order of `x`, which is the time in seconds or another quantity on the horizontal axis. */
  readonly points: readonly { readonly x: number; readonly value: number }[];
}

/** The results of a benchmark. */
export interface Report {
  /** File name of its page: `cold`. */
  readonly name: string;
  /** Name of the benchmark on the command line, if it isn't that of the page. */
  readonly command?: string;
  readonly title: string;
  /** Paragraphs about the method, about each target, and about the limits of the figures. */
  readonly method: readonly string[];
  readonly tables: readonly Table[];
  readonly budgets: readonly Budget[];
  readonly charts: readonly Chart[];
  /** Paragraphs below the figures about the causes of the figures and known limits. */
  readonly limits?: readonly string[];
  /** Every measured value, for further analysis. */
  readonly data: unknown;
}

/** A report with its machine and date, as written to the JSON file. */
export interface DatedReport {
  /** ISO date and time. */
  readonly date: string;
  readonly machine: Machine;
  readonly report: Report;
}

/** Returns `measured` divided by `against`. */
export function computeRatio({ measured, against }: Budget): number {
  return measured.value / against.value;
}

/** Returns true if the ratio is within the budget's limit. */
export function isMet(budget: Budget): boolean {
  return budget.isFloor === true ? computeRatio(budget) >= budget.limit : computeRatio(budget) <= budget.limit;
}

/** Formats a number with three significant digits, four from 1,000 on: `1,234`, `12.3`, `0.123`. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return value.toLocaleString('en-US', { maximumSignificantDigits: Math.abs(value) >= 1000 ? 4 : 3 });
}

/** Formats a budget in one line, with both figures. */
export function formatBudget(budget: Budget): string {
  const { metric, measured, against, limit, isFloor = false } = budget;
  const formatFigure = ({ label, value, unit }: Figure) => `${label} ${formatNumber(value)} ${unit}`.trimEnd();
  const verdict = isMet(budget) ? 'kept' : 'MISSED';
  return `${metric}: ${formatNumber(computeRatio(budget))}× (${formatFigure(measured)}, ${formatFigure(against)}); budget ${isFloor ? '≥' : '≤'} ${formatNumber(limit)}×: ${verdict}`;
}
