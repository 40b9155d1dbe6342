import type { ContentRule } from '../../access/content-policy-schema.ts';
import { BoundedMap } from '../../core/bounded-map.ts';
import { LambentError } from '../../core/errors.ts';
import { getOrCreate } from '../../core/get-or-create.ts';
import { compileRule, PatternScanner } from './pattern-scanner.ts';
import type { Scanner } from './scanner.ts';
import { buildTermAutomaton } from './term-automaton.ts';
import { TermScanner } from './term-scanner.ts';

/** What is checked: the request or the answer. */
export type Side = 'input' | 'output';

/** The compiled rules for one side. */
export interface RuleSet {
  /** Starts to look for the rules that refuse. */
  readonly createRefusing: () => Scanner;
  /** Starts to look for the rules that only flag. */
  readonly createFlagging: () => Scanner;
}

/** Projects whose compiled rules are cached at the same time. */
const MAX_CACHED = 100;
const cache = new BoundedMap<string, RuleSet>(MAX_CACHED);

/**
 * Compiles the rules that apply to a side. Compiled rules are cached.
 * @throws LambentError `configuration` if a stored rule is invalid, so that nothing passes unchecked
 */
export function compileRules(rules: readonly ContentRule[], side: Side): RuleSet {
  const relevant = rules.filter(({ on = 'both' }) => on === 'both' || on === side);
  return getOrCreate(cache, JSON.stringify(relevant), () => {
    try {
      return {
        createRefusing: prepareScanner(relevant.filter(({ action = 'refuse' }) => action === 'refuse')),
        createFlagging: prepareScanner(relevant.filter(({ action }) => action === 'flag')),
      };
    } catch (cause) {
      throw new LambentError('configuration', 'A content rule of the policy is invalid', { cause });
    }
  });
}

function prepareScanner(rules: readonly ContentRule[]): () => Scanner {
  const automaton = buildTermAutomaton(rules.filter((rule) => 'terms' in rule));
  const patterns = rules.filter((rule) => 'pattern' in rule).map(compileRule);
  return () => {
    const scanners = patterns.map((pattern): Scanner => new PatternScanner(pattern));
    return joinScanners(automaton.longest === 0 ? scanners : [new TermScanner(automaton), ...scanners]);
  };
}

/** Returns a scanner that finds what any of some scanners finds, and holds back what any of them holds back. */
function joinScanners(scanners: readonly Scanner[]): Scanner {
  return {
    push(text) {
      for (const scanner of scanners) scanner.push(text);
    },
    end() {
      for (const scanner of scanners) scanner.end();
    },
    get hits() {
      return new Set(scanners.flatMap(({ hits }) => [...hits]));
    },
    get heldFrom() {
      return Math.min(...scanners.map(({ heldFrom }) => heldFrom));
    },
  };
}
