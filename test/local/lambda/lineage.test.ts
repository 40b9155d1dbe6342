import { describe, expect, it } from 'vitest';
import { countRecursions, extendLineage, formatTraceHeader } from '../../../local/lambda/lineage.ts';

/** Returns the trace header of the last of invocations that cause each other. */
function chain(...functions: readonly string[]): string {
  return functions.reduce((header, name) => formatTraceHeader('id', extendLineage([header], name)), '');
}

describe('the lineage of an invocation', () => {
  it('an invocation without a trace header begins a chain', () => {
    expect(countRecursions(extendLineage([], 'one'), 'one')).toBe(1);
    expect(countRecursions(extendLineage(['Root=1-abc;Parent=0;Sampled=1'], 'one'), 'one')).toBe(1);
  });

  it('a lineage counts each function of the chain by itself', () => {
    const lineage = extendLineage([chain('one', 'two', 'one')], 'two');
    expect([countRecursions(lineage, 'one'), countRecursions(lineage, 'two')]).toEqual([2, 2]);
    expect(countRecursions(lineage, 'three')).toBe(0);
  });

  it('a batch inherits the longest chain of each function', () => {
    const lineage = extendLineage([chain('one', 'one'), chain('two', 'one'), ''], 'two');
    expect([countRecursions(lineage, 'one'), countRecursions(lineage, 'two')]).toEqual([2, 2]);
  });
});
