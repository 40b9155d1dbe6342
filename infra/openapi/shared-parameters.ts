import { isObject } from '../../shared/core/objects.ts';

/** Uses from which on a reference to a parameter is shorter than its copies. */
const MIN_USES = 3;

/**
 * Replaces the parameters that several operations have by references, so that the description stays small.
 * @returns the paths, and the parameters that they refer to, by name
 */
export function shareParameters<T>(paths: T): { readonly paths: T; readonly parameters: Record<string, unknown> } {
  const uses = new Map<string, number>();
  JSON.stringify(paths, (_, value: unknown) => {
    if (isParameter(value)) uses.set(JSON.stringify(value), (uses.get(JSON.stringify(value)) ?? 0) + 1);
    return value;
  });
  const names = new Map<string, string>();
  const parameters: Record<string, unknown> = {};
  for (const [text, count] of uses) {
    if (count < MIN_USES) continue;
    const parameter = JSON.parse(text) as { readonly name: string };
    const others = Object.keys(parameters).filter((each) => each.replace(/\d+$/, '') === parameter.name).length;
    const name = others === 0 ? parameter.name : `${parameter.name}${others + 1}`;
    names.set(text, name);
    parameters[name] = parameter;
  }
  const replaced = JSON.stringify(paths, (_, value: unknown) => {
    const name = isParameter(value) ? names.get(JSON.stringify(value)) : undefined;
    return name === undefined ? value : { $ref: `#/components/parameters/${name}` };
  });
  return { paths: JSON.parse(replaced) as T, parameters };
}

function isParameter(value: unknown): value is { readonly name: string } {
  return isObject(value) && typeof value['in'] === 'string' && typeof value['name'] === 'string';
}
