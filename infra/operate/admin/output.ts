import { isObject } from '../../../shared/core/objects.ts';

/** Returns the lines of a table of objects: a column per field with a plain value, in the order of the first object. */
export function formatTable(objects: readonly Readonly<Record<string, unknown>>[]): string[] {
  const columns = [...new Set(objects.flatMap((each) => Object.keys(each)))].filter(
    (name) => name !== 'object' && objects.some((each) => each[name] !== null && each[name] !== undefined),
  );
  const rows = [columns, ...objects.map((each) => columns.map((name) => formatValue(name, each[name])))];
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Returns the lines of one object: a field per line. */
export function formatObject(object: Readonly<Record<string, unknown>>): string[] {
  const fields = Object.entries(object).filter(([name, value]) => name !== 'object' && value !== null);
  const width = Math.max(0, ...fields.map(([name]) => name.length));
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${formatValue(name, value)}`);
}

function formatValue(name: string, value: unknown): string {
  if (value === null || value === undefined) return '';
  if (/_(at|time)$/.test(name) && typeof value === 'number') return new Date(value * 1000).toISOString();
  if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value.join(',');
  if (name === 'amount' && isObject(value)) return `${value['value']} ${value['currency']}`;
  if (isObject(value) || Array.isArray(value)) return JSON.stringify(value);
  return String(value);
}
