import { type Client, KNOWN_FAILURES, type KnownFailure } from './clients.ts';
import type { Check } from './drivers.ts';
import type { Kind } from './targets.ts';

/** The result of a client with a kind of target. */
export interface Cell {
  readonly client: string;
  readonly kind: Kind;
  /** As in the table. */
  readonly summary: string;
  /** Checks that failed, with their errors. */
  readonly problems: readonly string[];
  /** Known failures that passed, so that the entry can be removed. */
  readonly outdated: readonly string[];
  readonly known: readonly KnownFailure[];
}

/** Compares a driver's checks with the failures that are known. */
export function judge(
  { name }: Client,
  kind: Kind,
  checks: readonly Check[],
  failures: readonly KnownFailure[] = KNOWN_FAILURES,
): Cell {
  const known = failures.filter(({ client, kinds }) => client === name && kinds.includes(kind));
  const isKnown = ({ check }: Check): boolean =>
    known.some((failure) => failure.checks.some((start) => check.startsWith(start)));
  const failed = checks.filter(({ error }) => error !== undefined);
  const outdated = known
    .flatMap((failure) => failure.checks)
    .filter((start) => !failed.some(({ check }) => check.startsWith(start)));
  const unexpected = failed.filter((check) => !isKnown(check));
  const passed = checks.length - failed.length;
  return {
    client: name,
    kind,
    summary: `${passed} of ${checks.length}${failed.length === 0 ? '' : unexpected.length > 0 ? ' FAILED' : ' (known)'}`,
    problems: unexpected.map(
      ({ check, error = '' }) => `${check}: ${error.trim().replaceAll(/\s+/g, ' ').slice(0, 1_500)}`,
    ),
    outdated,
    known,
  };
}

/** Prints the table: a row for each client, a column for each kind of target. */
export function printTable(clients: readonly Client[], kinds: readonly Kind[], cells: readonly Cell[]): void {
  const rows = clients.map(({ name }) => [
    name,
    ...kinds.map((kind) => cells.find((cell) => cell.client === name && cell.kind === kind)?.summary ?? 'not run'),
  ]);
  const all = [['client', ...kinds], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of all)
    console.log(
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

/**
 * Prints why cells failed, and the known failures with their reasons.
 * @returns true if everything went as expected
 */
export function printFailures(cells: readonly Cell[]): boolean {
  const failed = cells.filter(({ problems }) => problems.length > 0);
  for (const { client, kind, problems } of failed) {
    for (const problem of problems) console.log(`\n${client}, ${kind}: ${problem}`);
  }
  for (const { client, kinds, checks, reason } of new Set(cells.flatMap(({ known }) => known))) {
    console.log(`\nknown: ${client}, ${kinds.join(' and ')}: ${checks.join(', ')}: ${reason}`);
  }
  for (const { client, kind, outdated } of cells) {
    for (const check of outdated) console.log(`\n${client}, ${kind}: ${check} passes now: remove it from clients.ts`);
  }
  console.log(`\n${cells.length - failed.length} passed, ${failed.length} failed`);
  return failed.length === 0;
}
