import type { Generation } from '../inference/router.ts';

/** Maximum length of the list, so that all headers together stay far below API Gateway's limit of 10,240 bytes. */
const MAX_LENGTH = 1_000;

/**
 * Returns the response headers that say how a request was handled: `x-lambent-ignored` names the parameters that had no
 * effect, and `x-lambent-strict` says that a strict schema was checked.
 * @param ignored the paths that the parser ignored
 * @param generation the router's answer; absent if the model is called later
 */
export function describeHandling(
  ignored: readonly string[],
  generation?: Omit<Generation, 'events'>,
): Record<string, string> {
  // For a native request, the router lists all parameters that had no effect.
  const parsed = generation?.isNative === true ? [] : ignored;
  const paths = new Set([...parsed, ...(generation?.ignored ?? [])].map(encodePath));
  let text = '';
  for (const path of paths) {
    if (text.length + path.length > MAX_LENGTH) break;
    text += text === '' ? path : `, ${path}`;
  }
  return {
    ...(text === '' ? {} : { 'x-lambent-ignored': text }),
    ...(generation?.strict === undefined ? {} : { 'x-lambent-strict': generation.strict }),
    ...generation?.headers,
  };
}

/** Encodes a path, whose names are the caller's, so that it can't end the header or the entry of the list. */
function encodePath(path: string): string {
  return path
    .slice(0, 200)
    .toWellFormed()
    .replaceAll(/[^\w.[\]$@:/-]+/g, encodeURIComponent);
}
