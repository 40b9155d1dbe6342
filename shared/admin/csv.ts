import type { HttpRequest } from '../access/route.ts';
import { isObject } from '../core/objects.ts';

/** Whether a request asks for CSV: by `Accept: text/csv` or by `format=csv`, which a browser's link can have. */
export function wantsCsv({ headers, query }: HttpRequest): boolean {
  return query['format'] === 'csv' || /\btext\/csv\b/.test(headers['accept'] ?? '');
}

/**
 * Encodes rows as CSV (RFC 4180) with a header line. A nested object has a column for each of its fields: `amount.value`.
 */
export function encodeCsv(rows: readonly Readonly<Record<string, unknown>>[]): string {
  const flat = rows.map(flatten);
  const columns = [...new Set(flat.flatMap((row) => Object.keys(row)))];
  const lines = [columns, ...flat.map((row) => columns.map((column) => row[column] ?? ''))];
  return lines.map((line) => `${line.map(quote).join(',')}\r\n`).join('');
}

function flatten(row: Readonly<Record<string, unknown>>): Record<string, string> {
  const cells = Object.entries(row).flatMap(([name, value]): [string, string][] => {
    if (isObject(value)) return Object.entries(flatten(value)).map(([inner, text]) => [`${name}.${inner}`, text]);
    return [[name, value === null || value === undefined ? '' : String(value)]];
  });
  return Object.fromEntries(cells);
}

/** Names of models and keys come from callers: a spreadsheet must not take one for a formula. */
function quote(cell: string): string {
  const safe = /^[=+\-@\t\r]/.test(cell) && !/^-?\d+(\.\d+)?$/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
