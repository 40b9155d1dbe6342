import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { LambentError } from '../core/errors.ts';

export type { AttributeValue };

/** A table's item, a part of one, or the values of an expression, in DynamoDB's typed format. */
export type Item = Record<string, AttributeValue>;

/**
 * Converts plain values to DynamoDB's typed format: strings, numbers, booleans, bytes, arrays, objects and sets of
 * strings. Leaves out fields that are undefined. `@aws-sdk/util-dynamodb` would do the same, but add 5 KB to each
 * bundle.
 * @throws LambentError `internal` for a value of another type
 */
export function marshall(fields: object): Item {
  const defined = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(defined.map(([name, value]) => [name, toAttribute(value)]));
}

function toAttribute(value: unknown): AttributeValue {
  if (typeof value === 'string') return { S: value };
  if (typeof value === 'number') return { N: String(value) };
  if (typeof value === 'boolean') return { BOOL: value };
  if (value instanceof Uint8Array) return { B: value };
  if (value instanceof Set) return { SS: [...value].map(String) };
  if (Array.isArray(value)) return { L: value.map(toAttribute) };
  if (typeof value === 'object' && value !== null) return { M: marshall(value) };
  throw new LambentError('internal', `An item has a field of type ${typeof value}`);
}

/** Converts an item to plain values. Attributes of types that `marshall` doesn't write become undefined. */
export function unmarshall(item: Item): Record<string, unknown> {
  return Object.fromEntries(Object.entries(item).map(([name, value]) => [name, fromAttribute(value)]));
}

function fromAttribute({ S, N, BOOL, B, SS, L, M }: AttributeValue): unknown {
  if (N !== undefined) return Number(N);
  if (SS !== undefined) return new Set(SS);
  if (L !== undefined) return L.map(fromAttribute);
  if (M !== undefined) return unmarshall(M);
  return S ?? BOOL ?? B;
}
