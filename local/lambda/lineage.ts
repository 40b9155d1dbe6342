import { hash } from 'node:crypto';

/**
 * How often each function was invoked in a chain of invocations, each of which caused the next. Functions are named by a
 * hash.
 */
export type Lineage = ReadonlyMap<string, number>;

/**
 * Invocations of one function in a chain. Lambda refuses the next one, unless the function's `RecursiveLoop` is `Allow`.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
 */
export const MAX_RECURSIONS = 16;

/**
 * Returns the lineage of an invocation. AWS doesn't document what a batch inherits from its messages; here it is the longest
 * chain of each function.
 * @param traceHeaders the trace headers of what causes the invocation. The AWS SDK adds the header of the invocation that
 *   sends a message or calls a function: `Root=…;Lineage=a87bd80c:3|68fd508a:1`
 */
export function extendLineage(traceHeaders: readonly string[], functionName: string): Lineage {
  const counts = new Map<string, number>();
  for (const [name, count] of traceHeaders.flatMap(parseLineage)) {
    counts.set(name, Math.max(count, counts.get(name) ?? 0));
  }
  const own = hashName(functionName);
  return counts.set(own, (counts.get(own) ?? 0) + 1);
}

/** Returns how often a function was invoked in a chain. */
export function countRecursions(lineage: Lineage, functionName: string): number {
  return lineage.get(hashName(functionName)) ?? 0;
}

/** Returns the trace header of an invocation, which the AWS SDK passes on with each request. */
export function formatTraceHeader(requestId: string, lineage: Lineage): string {
  const counts = [...lineage].map(([name, count]) => `${name}:${count}`);
  return `Root=1-${requestId};Lineage=${counts.join('|')}`;
}

function parseLineage(traceHeader: string): (readonly [name: string, count: number])[] {
  const [, lineage = ''] = /(?:^|;)\s*Lineage=([^;]*)/i.exec(traceHeader) ?? [];
  return [...lineage.matchAll(/([0-9a-f]{8}):(\d+)/g)].map(([, name = '', count]) => [name, Number(count)]);
}

function hashName(functionName: string): string {
  return hash('sha256', functionName).slice(0, 8);
}
