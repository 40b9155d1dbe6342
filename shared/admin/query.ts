import { invalidValueError } from '../openai/validation.ts';

type Query = Readonly<Record<string, string>>;

/**
 * Returns a list parameter, which clients send as `name[]` or `name`, repeated or joined by commas. Absent: undefined.
 * A comma before a space is part of a value: names of line items have such commas.
 */
export function readList(query: Query, name: string): readonly string[] | undefined {
  const texts = [query[`${name}[]`], query[name]].filter((text) => text !== undefined && text !== '');
  return texts.length === 0 ? undefined : texts.join(',').split(/,(?! )/);
}

/** Returns a parameter that is a whole number from 0. Absent: undefined. @throws LambentError `invalid_value` */
export function readNumber(query: Query, name: string): number | undefined {
  const text = query[name];
  if (text === undefined) return undefined;
  if (/^\d{1,11}$/.test(text)) return Number(text);
  throw invalidValueError(name, `Invalid '${name}': Expected an integer.`);
}
