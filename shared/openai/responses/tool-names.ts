import { createHash } from 'node:crypto';

/** The name of the function by which a model searches for tools. */
export const TOOL_SEARCH = 'tool_search';

/** Returns the name that a model has for a tool of a namespace: letters, digits, `_` and `-`, at most 64. */
export function joinToolName(namespace: string | null | undefined, name: string): string {
  if (namespace == null) return name;
  const joined = `${namespace}${namespace.endsWith('__') ? '' : '__'}${name}`;
  if (/^[\w-]{1,64}$/.test(joined)) return joined;
  const digest = createHash('sha256').update(joined).digest('hex').slice(0, 8);
  return `${joined.replaceAll(/[^\w-]/g, '_').slice(0, 55)}_${digest}`;
}
