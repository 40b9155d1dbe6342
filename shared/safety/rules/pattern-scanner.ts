import type { RE2JS } from 're2js';
import type { ContentRule, PatternRule } from '../../access/content-policy-schema.ts';
import { compilePattern } from '../../access/custom-pattern.ts';
import type { Scanner } from './scanner.ts';

/** A rule's patterns, compiled. */
export interface CompiledPattern {
  readonly rule: PatternRule;
  readonly pattern: RE2JS;
  readonly allow: readonly RE2JS[];
  readonly maxLength: number;
}

const DEFAULT_MAX_LENGTH = 128;

/**
 * Compiles the patterns of a rule.
 * @throws Error for an invalid pattern
 */
export function compileRule(rule: PatternRule): CompiledPattern {
  return {
    rule,
    pattern: compilePattern(rule.pattern),
    allow: (rule.allow ?? []).map((each) => compilePattern(each)),
    maxLength: rule.maxLength ?? DEFAULT_MAX_LENGTH,
  };
}

/**
 * Finds a pattern in a text that arrives in pieces. The text is normalised (NFKC). Only the last part of it is kept, which is
 * as long as the longest match, and searched again with each piece: time and memory don't grow with the text.
 */
export class PatternScanner implements Scanner {
  readonly #compiled: CompiledPattern;
  readonly #hits = new Set<ContentRule>();
  /** The end of the text, from `#keptFrom` on. */
  #kept = '';
  #keptFrom = 0;
  /**
   * Characters at the beginning of `#kept` in which no further match begins. The last one decides about word boundaries, and
   * allowed texts may begin in all others.
   */
  #context = 0;

  constructor(compiled: CompiledPattern) {
    this.#compiled = compiled;
  }

  push(text: string): void {
    this.#kept += text;
    this.#search(false);
    this.#forget();
  }

  end(): void {
    this.#search(true);
  }

  get hits(): ReadonlySet<ContentRule> {
    return this.#hits;
  }

  get heldFrom(): number {
    return this.#keptFrom + this.#context;
  }

  #search(isEnd: boolean): void {
    const { rule, pattern, allow, maxLength } = this.#compiled;
    if (this.#hits.size > 0) return;
    const context = this.#kept.slice(0, this.#context).normalize('NFKC').length;
    const text = this.#kept.normalize('NFKC');
    const matches = listMatches(pattern, text, context);
    // At the end of the text so far, a match may become longer, or none. An allowed text around it may become longer, too.
    const isDecided = ([start, end]: Span): boolean =>
      isEnd || text.length - start >= maxLength + 1 || (allow.length === 0 && end < text.length);
    const decided = matches.filter(isDecided);
    if (decided.length === 0) return;
    const allowed = allow.flatMap((each) => listMatches(each, text, this.#keptFrom === 0 ? 0 : 1));
    const isAllowed = ([start, end]: Span): boolean => allowed.some(([from, to]) => from <= start && end <= to);
    if (!decided.every(isAllowed)) this.#hits.add(rule);
  }

  /** Drops the text in which no match can begin, except for its end. */
  #forget(): void {
    const { maxLength, allow } = this.#compiled;
    const size = this.#context + maxLength + 1;
    if (this.#kept.length <= size) return;
    let at = this.#kept.length - maxLength - 1;
    // Characters that are composed when the text is normalised make it shorter.
    while (at > this.#context && this.#kept.slice(at).normalize('NFKC').length < maxLength + 1) at -= maxLength;
    at = findCharacterStart(this.#kept, at);
    if (at <= this.#context) return;
    const from = findCharacterStart(this.#kept, Math.max(0, at - 1 - (allow.length === 0 ? 0 : maxLength)));
    this.#keptFrom += from;
    this.#kept = this.#kept.slice(from);
    this.#context = at - from;
  }
}

type Span = readonly [start: number, end: number];

function listMatches(pattern: RE2JS, text: string, from: number): Span[] {
  const matcher = pattern.matcher(text);
  const spans: Span[] = [];
  for (let found = matcher.find(from); found; found = matcher.find()) spans.push([matcher.start(), matcher.end()]);
  return spans;
}

const JOINED = /^[\p{M}\u1160-\u11FF\uDC00-\uDFFF]/u;

/** Returns the offset at or before `at` at which no mark and no half of a surrogate pair begins. */
function findCharacterStart(text: string, at: number): number {
  let start = at;
  while (start > 0 && JOINED.test(text.slice(start, start + 2))) start -= 1;
  return start;
}
