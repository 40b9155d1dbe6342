import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PersonalDataKind } from '../../shared/access/personal-data.ts';
import { type Detect, toLabel } from '../../shared/safety/personal/detector.ts';

const FOLDER = join(import.meta.dirname, '../shared/safety/personal/labelled');

/** The languages of the labelled set. */
export const LANGUAGES = ['en', 'zh'] as const;
export type Language = (typeof LANGUAGES)[number];

/** A text of the labelled set. */
export interface LabelledText {
  readonly text: string;
  /** The value of the kind that the text has; absent if it has none. */
  readonly value?: { readonly start: number; readonly end: number };
}

/** How the detector does on the texts of one kind and language. */
export interface Score {
  readonly positives: number;
  readonly negatives: number;
  /** The texts with a value that is covered as a whole. */
  readonly found: number;
  /** Findings of the kind that are no value. */
  readonly wrong: number;
  /** Texts with a mistake. */
  readonly mistakes: readonly string[];
}

/** Reads the texts of one kind and language. In the file, a value is in `«»`, and each line is a text. */
export async function readLabelled(kind: PersonalDataKind, language: Language): Promise<LabelledText[]> {
  const lines = (await readFile(join(FOLDER, `${kind}.${language}.txt`), 'utf8')).trimEnd().split('\n');
  return lines.map((line) => {
    const start = line.indexOf('«');
    const end = line.indexOf('»') - 1;
    const text = line.replaceAll(/[«»]/g, '');
    return start === -1 ? { text } : { text, value: { start, end } };
  });
}

/** Counts what a detector of all kinds finds in the texts of one. */
export function computeScore(kind: PersonalDataKind, texts: readonly LabelledText[], detect: Detect): Score {
  const score = { positives: 0, negatives: 0, found: 0, wrong: 0, mistakes: [] as string[] };
  for (const { text, value } of texts) {
    const findings = detect(text);
    const isFound = value !== undefined && findings.some(({ start, end }) => start <= value.start && end >= value.end);
    const wrong = findings.filter(
      ({ label, start, end }) =>
        label === toLabel(kind) && (value === undefined || end <= value.start || start >= value.end),
    );
    if (value === undefined) score.negatives += 1;
    else score.positives += 1;
    if (isFound) score.found += 1;
    score.wrong += wrong.length;
    if (isFound !== (value !== undefined) || wrong.length > 0) score.mistakes.push(text);
  }
  return score;
}
