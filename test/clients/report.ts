import { type Client, EXPECTED_REFUSALS, type ExpectedRefusal, KNOWN_FAILURES, type KnownFailure } from './clients.ts';
import type { Check } from './drivers.ts';
import { FULL_KIND, KINDS, type Kind } from './targets.ts';
import type { Refusal } from './watch.ts';

/** The result of a client with a kind of target. */
export interface Cell {
  readonly client: string;
  readonly kind: Kind;
  /** Names of the checks that passed. */
  readonly passed: readonly string[];
  readonly total: number;
  /** Checks that failed unexpectedly, with their errors. */
  readonly problems: readonly string[];
  /** Known failures that passed, so that the entry can be removed. */
  readonly outdated: readonly string[];
  readonly known: readonly KnownFailure[];
}

interface Expectations {
  readonly failures?: readonly KnownFailure[];
  readonly refusals?: readonly ExpectedRefusal[];
}

/** Compares a driver's checks, and what the service refused to the client, with what is expected. */
export function judge(
  { name }: Client,
  kind: Kind,
  results: { readonly checks: readonly Check[]; readonly refusals?: readonly Refusal[] },
  { failures = KNOWN_FAILURES, refusals: expected = EXPECTED_REFUSALS }: Expectations = {},
): Cell {
  const { checks, refusals = [] } = results;
  const known = failures.filter(({ client, kinds }) => client === name && kinds.includes(kind));
  const failed = checks.filter(({ error }) => error !== undefined);
  const outdated = known
    .flatMap((failure) => failure.checks)
    .filter((start) => !failed.some(({ check }) => check.startsWith(start)));
  const unexpected = failed.filter(({ check }) => !isKnown(known, check));
  const refused = refusals.filter(
    ({ request, status, body }) =>
      !expected.some(
        (each) =>
          each.client === name && each.request === request && each.status === status && body.includes(each.text),
      ),
  );
  return {
    client: name,
    kind,
    passed: checks.flatMap(({ check, error }) => (error === undefined ? [check] : [])),
    total: checks.length,
    problems: [
      ...unexpected.map(({ check, error = '' }) => `${check}: ${shorten(error)}`),
      // Known failures have refusals of their own.
      ...(failed.length > unexpected.length
        ? []
        : refused.map(({ request, status, body }) => `${request} was answered ${status}: ${shorten(body)}`)),
    ],
    outdated,
    known,
  };
}

function isKnown(known: readonly KnownFailure[], check: string): boolean {
  return known.some((failure) => failure.checks.some((start) => check.startsWith(start)));
}

function shorten(text: string): string {
  return text.trim().replaceAll(/\s+/g, ' ').slice(0, 1_500);
}

/** Adds to each cell the checks that the same client passes with a target that can do everything, but not with this one. */
export function compareWithFull(cells: readonly Cell[]): Cell[] {
  return cells.map((cell) => {
    const full = cells.find(({ client, kind }) => client === cell.client && kind === FULL_KIND);
    const missing = (full?.passed ?? []).filter(
      (check) =>
        !cell.passed.includes(check) &&
        !isKnown(cell.known, check) &&
        !cell.problems.some((problem) => problem.startsWith(`${check}: `)),
    );
    return { ...cell, problems: [...cell.problems, ...missing.map((check) => `${check}: was not run`)] };
  });
}

/** Returns a cell's text in the table: `11 of 12`, and how that is to be read. */
export function summarize({ passed, total, problems, known }: Cell): string {
  const note = problems.length > 0 ? ' FAILED' : known.length > 0 ? ' (known)' : '';
  return `${passed.length} of ${total}${note}`;
}

/** Prints the table: a row for each client, a column for each kind of target. */
export function printTable(clients: readonly Client[], kinds: readonly Kind[], cells: readonly Cell[]): void {
  const rows = clients.map(({ name }) => [
    name,
    ...kinds.map((kind) => {
      const cell = cells.find((each) => each.client === name && each.kind === kind);
      return cell ? summarize(cell) : 'not run';
    }),
  ]);
  for (const line of formatTable([['client', ...kinds], ...rows])) console.log(line);
}

/** Returns the lines of a table whose columns are aligned. */
export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
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

const RESULTS = /(<!-- results -->\n)[\s\S]*(<!-- \/results -->)/;

/**
 * Returns `page`, which is docs/clients.md, with the results of a run.
 * @param run the date, as `2026-11-30`, and the clients' versions by name
 */
export function writeResults(
  page: string,
  clients: readonly Client[],
  cells: readonly Cell[],
  { versions, date }: { readonly versions: Readonly<Record<string, string>>; readonly date: string },
): string {
  const count = (name: string, kind: Kind): string => {
    const cell = cells.find((each) => each.client === name && each.kind === kind);
    if (cell === undefined) return '';
    return cell.passed.length === cell.total ? String(cell.total) : `${cell.passed.length} of ${cell.total}`;
  };
  const rows = clients.map(({ name }) => [name, versions[name] ?? '', ...KINDS.map((kind) => count(name, kind))]);
  const reasons = [...new Set(cells.flatMap(({ known }) => known))].map(
    ({ client, kinds, checks, reason }) =>
      `- ${client}, ${kinds.join(', ')}: ${checks.join(', ')}. ${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`,
  );
  const lines = [
    '',
    `Last run on ${date} by \`npm run clients -- --all --write\`: the number of checks that passed.`,
    '',
    ...[['client', 'version', ...KINDS], ['---', '---', ...KINDS.map(() => '---')], ...rows].map(
      (row) => `| ${row.join(' | ')} |`,
    ),
    '',
    ...(reasons.length > 0 ? [...reasons, ''] : []),
  ];
  return page.replace(RESULTS, (_, start: string, end: string) => `${start}${lines.join('\n')}\n${end}`);
}
