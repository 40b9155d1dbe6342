import type { Usage } from './generation.ts';

/** Returns the tokens of two calls together. An absent usage counts as zero. */
export function addUsage(first: Usage | undefined, second: Usage): Usage;
export function addUsage(first: Usage | undefined, second: Usage | undefined): Usage | undefined;
export function addUsage(first: Usage | undefined, second: Usage | undefined): Usage | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  const sum = { ...second };
  for (const [name, value] of Object.entries(first) as [keyof Usage, number][]) sum[name] = (sum[name] ?? 0) + value;
  return sum;
}
