import type { ContentRule } from '../../access/content-policy-schema.ts';
import { extendSegment, fold, isExtender, isWordSymbol, type Segment } from './fold.ts';
import type { Scanner } from './scanner.ts';
import { type State, step, type Term, type TermAutomaton } from './term-automaton.ts';

/** An occurrence of a term: numbers of its first symbol, and of that after its last. */
interface Match {
  readonly term: Term;
  readonly start: number;
  readonly end: number;
}

/** A symbol of the text that an occurrence of a term may still begin with. */
interface Seen {
  /** Offset of its character in the text. */
  readonly offset: number;
  readonly isWord: boolean;
}

/** White space that a run of one symbol has at most, so that little is held back. No term is longer. */
const MAX_SPACES = 200;

const NO_MATCHES: readonly Match[] = [];

/** Finds terms in a text that arrives in pieces. Each character takes constant time. */
export class TermScanner implements Scanner {
  readonly #automaton: TermAutomaton;
  /** The latest symbols, by their number modulo the length. */
  readonly #seen: Seen[] = [];
  readonly #hits = new Set<ContentRule>();
  #state: State;
  /** Number of symbols so far. */
  #count = 0;
  /** Length of the text so far. */
  #length = 0;
  /** The last character: marks may follow that change it. */
  #segment: Segment | undefined;
  /** The first half of a surrogate pair whose second half hasn't arrived. */
  #half = '';
  /** Number of white space characters that the latest symbol stands for. */
  #spaces = 0;
  /** Terms that end with the latest symbol. The next symbol may make them part of a longer word. */
  #ended: readonly Match[] = NO_MATCHES;
  /** Occurrences that may turn out to be within an allowed term. */
  #doubtful: Match[] = [];

  constructor(automaton: TermAutomaton) {
    this.#automaton = automaton;
    this.#state = automaton.root;
  }

  push(text: string): void {
    const whole = this.#half + text;
    this.#half = isHighSurrogate(whole.charCodeAt(whole.length - 1)) ? whole.slice(-1) : '';
    for (const codePoint of this.#half === '' ? whole : whole.slice(0, -1)) this.#addCodePoint(codePoint);
  }

  end(): void {
    if (this.#half !== '') this.#addCodePoint(this.#half);
    this.#half = '';
    this.#takeSegment();
    this.#confirm(this.#ended);
    this.#ended = NO_MATCHES;
    for (const { term } of this.#doubtful) this.#hits.add(term.rule);
    this.#doubtful = [];
  }

  get hits(): ReadonlySet<ContentRule> {
    return this.#hits;
  }

  get heldFrom(): number {
    const matches = [...this.#ended, ...this.#doubtful].map(({ start }) => this.#offsetOf(start));
    return Math.min(this.#length, this.#candidateOffset(), ...matches);
  }

  #addCodePoint(codePoint: string): void {
    const longer = extendSegment(this.#segment, codePoint);
    if (longer === undefined) this.#takeSegment();
    this.#segment = longer ?? { text: codePoint, start: this.#length, marks: 0 };
    this.#length += codePoint.length;
  }

  #takeSegment(): void {
    const segment = this.#segment;
    if (segment === undefined) return;
    this.#segment = undefined;
    const symbols = fold(segment.text);
    if (symbols.length === 0) return;
    const isContinued = this.#continuesRun(symbols);
    this.#spaces = isContinued ? this.#spaces + 1 : isSpace(symbols) ? 1 : 0;
    if (!isContinued) for (const symbol of symbols) this.#addSymbol(symbol, segment.start);
  }

  /** Returns whether symbols add white space to the white space before them. */
  #continuesRun(symbols: readonly string[]): boolean {
    return this.#spaces > 0 && this.#spaces < MAX_SPACES && isSpace(symbols);
  }

  #addSymbol(symbol: string, offset: number): void {
    const isWord = isWordSymbol(symbol);
    if (this.#ended.length > 0) {
      this.#confirm(isExtender(symbol) ? [] : this.#ended.filter(({ term }) => !(isWord && term.rule.wholeWords)));
    }
    this.#seen[this.#count % this.#capacity] = { offset, isWord };
    this.#count += 1;
    this.#state = step(this.#state, symbol);
    this.#ended = this.#state.terms.length === 0 ? NO_MATCHES : this.#listEnded();
    const candidate = this.#count - this.#state.depth;
    if (this.#doubtful.length > 0) this.#decide(({ start }) => candidate > start);
  }

  /** Returns the terms that end with the latest symbol, and don't begin within a word unless they may. */
  #listEnded(): Match[] {
    return this.#state.terms.flatMap((term) => {
      const start = this.#count - term.length;
      const isPartOfWord = term.rule.wholeWords === true && start > 0 && this.#seenAt(start - 1)?.isWord === true;
      return isPartOfWord ? [] : { term, start, end: this.#count };
    });
  }

  /** Takes occurrences that are no part of longer words. */
  #confirm(matches: readonly Match[]): void {
    for (const match of matches) {
      if (match.term.isAllowed) continue;
      if ((match.term.rule.allow ?? []).length === 0) this.#hits.add(match.term.rule);
      else this.#doubtful.push(match);
    }
    for (const { term, start, end } of matches) {
      if (!term.isAllowed) continue;
      this.#doubtful = this.#doubtful.filter(
        (each) => each.term.rule !== term.rule || each.start < start || each.end > end,
      );
    }
  }

  /** Counts the doubtful occurrences that no allowed term can contain any more. */
  #decide(isDecided: (match: Match) => boolean): void {
    for (const match of this.#doubtful) if (isDecided(match)) this.#hits.add(match.term.rule);
    this.#doubtful = this.#doubtful.filter((match) => !isDecided(match));
  }

  /** Returns the offset of the longest beginning of a term at the end of the text. Returns its length if it ends in no beginning. */
  #candidateOffset(): number {
    const segment = this.#segment;
    const symbols = segment === undefined ? [] : fold(segment.text);
    if (segment === undefined || symbols.length === 0 || this.#continuesRun(symbols)) {
      return this.#state.depth === 0 ? this.#length : this.#offsetOf(this.#count - this.#state.depth);
    }
    let state = this.#state;
    let from = this.#length;
    // Marks may follow and change the order of the marks so far, but not the symbol before them. So each symbol counts.
    for (const [index, symbol] of symbols.entries()) {
      state = step(state, symbol);
      const start = this.#count + index + 1 - state.depth;
      if (state.depth > 0) from = Math.min(from, start < this.#count ? this.#offsetOf(start) : segment.start);
    }
    return from;
  }

  #offsetOf(symbol: number): number {
    return this.#seenAt(symbol)?.offset ?? 0;
  }

  #seenAt(symbol: number): Seen | undefined {
    return this.#seen[symbol % this.#capacity];
  }

  /** A doubtful occurrence, an allowed term around it and the symbol before that. */
  get #capacity(): number {
    return this.#automaton.longest + 1;
  }
}

/** White space without marks. */
function isSpace(symbols: readonly string[]): boolean {
  return symbols.length === 1 && symbols[0] === ' ';
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
