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

/** The number by which OpenAI's rate limits say that there is no limit. */
const NO_LIMIT = 2_147_483_647;
const IS_TIME = /^created$|_(at|time|until)$/;

function formatValue(name: string, value: unknown): string {
  if (value === null || value === undefined) return '';
  if (value === NO_LIMIT) return 'none';
  if (IS_TIME.test(name) && typeof value === 'number') return formatTime(value);
  if (name === 'threshold_amount' && typeof value === 'number') return (value / 100).toFixed(2);
  if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value.join(',');
  if (name === 'amount' && isObject(value)) return `${value['value']} ${value['currency']}`;
  return findId(value) ?? (typeof value === 'object' ? formatJson(value) : String(value));
}

/** Returns what a table shows of an object of the API in a field: the ids of a list, the owner's of a key, or its own. */
function findId(value: unknown): string | undefined {
  if (!isObject(value)) return undefined;
  const { object, type, id, data, status } = value;
  if (object === 'list' && Array.isArray(data))
    return data.map((each) => (isObject(each) ? each['id'] : each)).join(',');
  if (typeof type === 'string' && isObject(value[type])) return findId(value[type]);
  if (typeof object === 'string' && typeof id === 'string') return id;
  return typeof status === 'string' && Object.keys(value).length === 1 ? status : undefined;
}

function formatJson(value: unknown): string {
  return JSON.stringify(value, (name, each) =>
    IS_TIME.test(name) && typeof each === 'number' ? formatTime(each) : each,
  );
}

function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
