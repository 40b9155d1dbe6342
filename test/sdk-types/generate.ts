import fc from 'fast-check';
import type { Property, Shape } from '../../infra/openapi/types.ts';

export interface GenerateOptions {
  /**
   * Arbitraries for properties whose type says less than the API's reference, such as ids and URLs, by the end of their
   * path: `image_url.url`, or by the whole path: `^input`. The longest that matches counts.
   */
  readonly values?: Readonly<Record<string, fc.Arbitrary<unknown>>>;
  /** Paths of optional properties, without indices, that are always set. */
  readonly required?: readonly string[];
  /** Whether nothing is null that may be something else. */
  readonly withoutNull?: boolean;
  /** The share of optional properties that are set, from 0 to 1. */
  readonly share: number;
}

/** Depth below which only required properties are set, and arrays are empty. */
const MAX_DEPTH = 6;

/**
 * Returns a value of a shape.
 * @param draw returns a value of an arbitrary: the parameter of a property with `fc.gen()`
 */
export function generate(shape: Shape, draw: fc.GeneratorValue, options: GenerateOptions): unknown {
  const percent = Math.round(options.share * 100);
  const isSet = (): boolean => draw(fc.integer, { min: 0, max: 99 }) >= 100 - percent;
  const suffixes = Object.keys(options.values ?? {}).sort((a, b) => b.length - a.length);

  const create = (current: Shape, path: string, depth: number): unknown => {
    const suffix = suffixes.find((end) => `^${path}` === end || path === end || path.endsWith(`.${end}`));
    const given = suffix === undefined ? undefined : options.values?.[suffix];
    if (given !== undefined) return draw(() => given);
    switch (current.kind) {
      case 'string':
        return draw(fc.string, { unit: 'grapheme', maxLength: 12 });
      case 'number':
        return draw(() => NUMBERS);
      case 'boolean':
        return draw(fc.boolean);
      case 'null':
      case 'none':
        return null;
      case 'unknown':
        return draw(() => fc.constantFrom<unknown>('x', 1, true, { a: 'b' }));
      case 'literal':
        return current.value;
      case 'array': {
        const length = depth > MAX_DEPTH ? 0 : draw(fc.integer, { min: 0, max: 2 });
        return Array.from({ length }, () => create(current.element(), path, depth + 1));
      }
      case 'union': {
        const members = current.members().filter(({ kind }) => kind !== 'null' || options.withoutNull !== true);
        const chosen = depth > MAX_DEPTH ? members.slice(0, 1) : members;
        const member = chosen[draw(fc.nat, { max: chosen.length - 1 })];
        return member === undefined ? null : create(member, path, depth);
      }
      case 'object':
        return createObject(current, path, depth);
    }
  };

  const createObject = (object: Extract<Shape, { kind: 'object' }>, path: string, depth: number): unknown => {
    const isWanted = ({ name, optional }: Property): boolean =>
      !optional || options.required?.includes(join(path, name)) || (depth <= MAX_DEPTH && isSet());
    const entries = object
      .properties()
      .filter(isWanted)
      .map(({ name, shape: of }): [string, unknown] => [name, create(of(), join(path, name), depth + 1)]);
    const others = object.others();
    const isRecord = entries.length === 0 && others !== undefined && depth <= MAX_DEPTH;
    return isRecord ? { foo: create(others, join(path, 'foo'), depth + 1) } : Object.fromEntries(entries);
  };

  return create(shape, '', 0);
}

/** Most numbers of the APIs are integers. */
const NUMBERS = fc.integer({ min: 0, max: 20 });

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
