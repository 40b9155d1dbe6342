import type { TermRule } from '../../access/content-policy-schema.ts';
import { foldTerm } from './fold.ts';

/** A state of the automaton: the longest end of the text that is the beginning of a term. */
export interface State {
  /** Symbols of that beginning. */
  readonly depth: number;
  readonly next: ReadonlyMap<string, State>;
  /** The state of the next shorter end of the text that is the beginning of a term; the root's is itself. */
  readonly fallback: State;
  /** The terms that end here. */
  readonly terms: readonly Term[];
}

export interface Term {
  readonly rule: TermRule;
  /** True for a term within which the rule's other terms may occur. */
  readonly isAllowed: boolean;
  /** Number of symbols. */
  readonly length: number;
}

export interface TermAutomaton {
  readonly root: State;
  /** Symbols of the longest term. */
  readonly longest: number;
}

interface MutableState {
  readonly depth: number;
  readonly next: Map<string, MutableState>;
  fallback: MutableState;
  terms: readonly Term[];
}

/**
 * Builds an automaton that finds all terms of rules at once, in time linear in the text.
 * @see Aho, Corasick: Efficient string matching: an aid to bibliographic search (1975)
 */
export function buildTermAutomaton(rules: readonly TermRule[]): TermAutomaton {
  const root = createState(0);
  let longest = 0;
  for (const rule of rules) {
    const { terms, allow = [] } = rule;
    for (const [index, text] of [...terms, ...allow].entries()) {
      const symbols = foldTerm(text);
      longest = Math.max(longest, symbols.length);
      let state = root;
      for (const symbol of symbols) state = getOrCreate(state, symbol, root);
      if (state !== root) {
        const term = { rule, isAllowed: index >= terms.length, length: symbols.length };
        state.terms = [...state.terms, term];
      }
    }
  }
  // By depth: a state's fallback is less deep than itself.
  const queue = [...root.next.values()];
  for (const state of queue) {
    for (const [symbol, child] of state.next) {
      child.fallback = step(state.fallback, symbol) as MutableState;
      child.terms = [...child.terms, ...child.fallback.terms];
      queue.push(child);
    }
  }
  return { root, longest };
}

/** Returns the state after one more symbol. */
export function step(state: State, symbol: string): State {
  for (let each = state; ; each = each.fallback) {
    const next = each.next.get(symbol);
    if (next !== undefined) return next;
    if (each.depth === 0) return each;
  }
}

function createState(depth: number, root?: MutableState): MutableState {
  const state = { depth, next: new Map(), terms: [] } as Omit<MutableState, 'fallback'> as MutableState;
  state.fallback = root ?? state;
  return state;
}

function getOrCreate(state: MutableState, symbol: string, root: MutableState): MutableState {
  const existing = state.next.get(symbol);
  if (existing !== undefined) return existing;
  const created = createState(state.depth + 1, root);
  state.next.set(symbol, created);
  return created;
}
