import { invalidValueError } from '../openai/validation.ts';

type Query = Readonly<Record<string, string>>;

/** Returns a list parameter, which clients send as `name[]` or `name`, repeated or joined by commas. Absent: undefined. */
export function readList(query: Query, name: string): readonly string[] | undefined {
  const text = query[`${name}[]`] ?? query[name];
  return text === undefined || text === '' ? undefined : text.split(',');
}

/** Returns a parameter that is a whole number from 0. Absent: undefined. @throws LambentError `invalid_value` */
export function readNumber(query: Query, name: string): number | undefined {
  const text = query[name];
  if (text === undefined) return undefined;
  if (/^\d{1,11}$/.test(text)) return Number(text);
  throw invalidValueError(name, `Invalid '${name}': Expected an integer.`);
}
