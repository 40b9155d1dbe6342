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
 * Characters that are searched together for a rule that allows texts. It may need all matches, and each of them may look at all
 * that follows it.
 */
const PART = 1_024;

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
    const size = this.#compiled.allow.length === 0 ? text.length : PART;
    for (let from = 0; from < text.length; from += size) {
      this.#kept += text.slice(from, from + size);
      this.#search(false);
      this.#forget();
    }
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
    if (this.#hits.size > 0) return;
    const context = normalize(this.#kept.slice(0, this.#context)).length;
    const text = normalize(this.#kept);
    const decided = this.#listDecided(text, context, isEnd);
    if (decided.length > 0 && !this.#areAllowed(decided, text)) this.#hits.add(this.#compiled.rule);
  }

  /** Lists the matches that further text can't change, in their order. Without allowed texts, the first one is enough. */
  #listDecided(text: string, from: number, isEnd: boolean): Span[] {
    const { pattern, allow, maxLength } = this.#compiled;
    const decided: Span[] = [];
    for (const match of findMatches(pattern, text, from)) {
      const [start, end] = match;
      const canBeAllowed = allow.length > 0;
      // At the end of the text so far, a match may become longer, or none. An allowed text around it may become longer, too.
      const isDecided = isEnd || text.length - start >= maxLength + 1 || (!canBeAllowed && end < text.length);
      // Later matches begin later. If this one reaches the end, there are none.
      if (!isDecided) break;
      decided.push(match);
      if (!canBeAllowed) break;
    }
    return decided;
  }

  /** Returns whether each of some matches, which are in their order, is within an allowed text. */
  #areAllowed(matches: readonly Span[], text: string): boolean {
    const from = this.#keptFrom === 0 ? 0 : 1;
    const allowed = this.#compiled.allow
      .flatMap((each) => [...findMatches(each, text, from)])
      .sort(([first], [second]) => first - second);
    let next = 0;
    /** The end of the allowed text that ends last, of those that begin no later than the match. */
    let allowedTo = 0;
    return matches.every(([start, end]) => {
      for (let span = allowed[next]; span !== undefined && span[0] <= start; span = allowed[next]) {
        allowedTo = Math.max(allowedTo, span[1]);
        next += 1;
      }
      return end <= allowedTo;
    });
  }

  /** Drops the text in which no match can begin, except for its end. */
  #forget(): void {
    const { maxLength, allow } = this.#compiled;
    const size = this.#context + maxLength + 1;
    if (this.#kept.length <= size) return;
    let at = this.#kept.length - maxLength - 1;
    // Characters that are composed when the text is normalised make it shorter.
    while (at > this.#context && normalize(this.#kept.slice(at)).length < maxLength + 1) at -= maxLength;
    at = findCharacterStart(this.#kept, at);
    if (at <= this.#context) return;
    const from = findCharacterStart(this.#kept, Math.max(0, at - 1 - (allow.length === 0 ? 0 : maxLength)));
    this.#keptFrom += from;
    this.#kept = this.#kept.slice(from);
    this.#context = at - from;
  }
}

type Span = readonly [start: number, end: number];

function* findMatches(pattern: RE2JS, text: string, from: number): Generator<Span> {
  const matcher = pattern.matcher(text);
  for (let found = matcher.find(from); found; found = matcher.find()) yield [matcher.start(), matcher.end()];
}

/**
 * Marks of one character that are put in order together. Each may move before all others, which takes long if there are many. No
 * language needs more than 30.
 * @see https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format
 */
const MAX_MARKS = 64;
/** Marks, and two other characters that become marks, more than can be put in order. */
const CROWD = new RegExp(`([\\p{M}\\uFF9E\\uFF9F]{${MAX_MARKS}})`, 'u');

/** Returns a text in the form NFKC, besides characters with more marks than the limit. */
function normalize(text: string): string {
  const parts = text.split(CROWD).map((part) => part.normalize('NFKC'));
  return parts.join('');
}

const JOINED = /^[\p{M}\u1160-\u11FF\uDC00-\uDFFF]/u;

/**
 * Returns the offset at or before `at` at which no mark and no half of a surrogate pair begins; among more marks than are put in
 * order, one at which no half begins.
 */
function findCharacterStart(text: string, at: number): number {
  let start = at;
  while (
    start > 0 &&
    JOINED.test(text.slice(start, start + 2)) &&
    (at - start < MAX_MARKS || isLowSurrogate(text, start))
  )
    start -= 1;
  return start;
}

function isLowSurrogate(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff;
}
