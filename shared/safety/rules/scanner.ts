import type { ContentRule } from '../../access/content-policy-schema.ts';

/** Looks for matches of rules in a text that arrives in pieces. */
export interface Scanner {
  /** Takes the next piece of the text. */
  push(text: string): void;
  /** Decides what is undecided, as if the text ended. Further text may follow: a match may still cross this point. */
  end(): void;
  /** The rules that have matched. */
  readonly hits: ReadonlySet<ContentRule>;
  /** The offset from which the text may be part of a match that isn't complete yet. */
  readonly heldFrom: number;
}
