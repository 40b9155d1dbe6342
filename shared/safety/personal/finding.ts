/** Where a value is in a text. */
export interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/**
 * Finds the values of one kind in a folded text. Its time grows linearly with the text: a repetition is bounded, or nothing
 * after it can fail, or it can begin only once in a run of its characters.
 */
export type FindValues = (text: string) => Iterable<Range>;

/** Yields the range of each match. If the pattern has a group `value`, at the end of the match, yields that of the group. */
export function* findMatches(
  text: string,
  pattern: RegExp,
  isValid: (value: string, match: RegExpExecArray) => boolean = () => true,
): Generator<Range> {
  for (const match of text.matchAll(pattern)) {
    const value = match.groups?.['value'] ?? match[0];
    const end = match.index + match[0].length;
    if (isValid(value, match)) yield { start: end - value.length, end };
  }
}
