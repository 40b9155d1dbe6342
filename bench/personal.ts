import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PERSONAL_DATA_KINDS } from '../shared/access/personal-data.ts';
import { createDetector, type Detect } from '../shared/safety/personal/detector.ts';
import { computeScore, LANGUAGES, readLabelled } from '../test/measure/personal-data.ts';
import { computeMedian } from '../test/measure/statistics.ts';
import { type Budget, formatNumber, type Report, type Table } from './report/report.ts';

export interface PersonalOptions {
  /** Number of measurements per text. */
  readonly rounds: number;
  /** Length of the hostile texts, in characters. */
  readonly hostileLength: number;
}

const KINDS = PERSONAL_DATA_KINDS.filter((kind) => kind !== 'name' && kind !== 'address');
const LENGTH = 100_000;
/** A search of four times the text may take this many times as long. Above four, because the times of short runs vary. */
const GROWTH_LIMIT = 6;
/** The shares of values that are found, and of findings that are values. */
const SHARE_LIMIT = 0.95;

/** Repeated, each begins many values without ending one. */
const HOSTILE: Readonly<Record<string, string>> = {
  'addresses without an end': 'a@',
  labels: 'a.',
  digits: '1',
  'groups of digits': '1234 ',
  'begins of IBANs': 'GB82 ',
  colons: 'a:',
  'country codes': '+1',
  'begins of tokens': 'eyJaaaaaaaaa.',
  'begins of private keys': '-----BEGIN PRIVATE KEY-----',
  'names of secrets': 'password=',
  'URL escapes': '%41',
  fillers: '<',
  'full-width digits': '１',
  'invisible characters': '1\u200b',
};

/** Measures what the detector of personal data finds in the labelled set, and how long it takes. */
export async function benchPersonal({ rounds, hostileLength }: PersonalOptions): Promise<Report> {
  const detect = await createDetector({ kinds: new Map(KINDS.map((kind) => [kind, 'mask'])), patterns: [] });
  const scores = await measureScores(detect);
  const texts = await readTexts();
  const times = texts.map(({ label, text }) => ({
    label,
    ms: measure(rounds, () => detect(text)),
    // One round trip is shorter than the clock's steps.
    floorMs: measure(3, () => repeat(100, () => JSON.parse(JSON.stringify(text)))) / 100,
  }));
  const hostile = Object.entries(HOSTILE).map(([label, unit]) => {
    const text = unit.repeat(Math.ceil(hostileLength / unit.length));
    const quarter = text.slice(0, hostileLength / 4);
    return { label, ms: findFastest(() => detect(text)), quarterMs: findFastest(() => detect(quarter)) };
  });
  return {
    name: 'personal-data',
    command: 'personal',
    title: 'Personal data: what is found, and what the search costs',
    method: [
      'The labelled set has texts in English and Chinese, all synthetic: for each kind more than a hundred with one value, and as many hard negatives (order numbers, timestamps, versions, UUIDs, hashes, prices, ISBNs, code, and values with a wrong check digit). It is in `test/shared/safety/personal/labelled/`, with the value of a text in `«»`. Part of it was made from templates, part was written by hand to be hard.',
      'All kinds are searched for at once. Recall is the share of values that are found as a whole; precision is the share of findings of a kind, in the texts of that kind, that are values. Most of the set was made by the authors of the detector, so it shows mistakes rather than proves their absence on other text.',
      `Times are for ${formatNumber(LENGTH)} characters and all kinds, in CPU time of one thread. The floor is one round trip of the text through JSON. A hostile text repeats a beginning of values; a search of linear time takes four times as long for four times the text.`,
    ],
    tables: [toScoreTable(scores), toTimeTable(times, rounds), toHostileTable(hostile, hostileLength)],
    budgets: [...toShareBudgets(scores), toGrowthBudget(hostile)],
    charts: [],
    limits: [
      'Not found, by design: national phone numbers besides Chinese ones and North American ones with separators (with spaces only after a word such as `phone`), Chinese identity numbers of 15 digits, account numbers with no check digit, passport numbers without their name, e-mail domains in scripts without spaces that end in none of the common ways, one-time codes, and secrets that consist of words.',
    ],
    data: { scores, times, hostile },
  };
}

async function measureScores(detect: Detect) {
  const scores = [];
  for (const kind of KINDS) {
    for (const language of LANGUAGES) {
      const { mistakes: _, ...score } = computeScore(kind, await readLabelled(kind, language), detect);
      const recall = score.found / score.positives;
      scores.push({ kind, language, ...score, recall, precision: score.found / (score.found + score.wrong) });
    }
  }
  return scores;
}

async function readTexts() {
  const docs = await readFile(join(import.meta.dirname, '../docs/api.md'), 'utf8');
  const repeat = (text: string) => text.repeat(Math.ceil(LENGTH / text.length)).slice(0, LENGTH);
  return [
    { label: 'documentation in English', text: repeat(docs) },
    {
      label: 'messages in Chinese',
      text: repeat('您好，订单已经发货，预计三天内送达。如有问题，请联系客服，谢谢您的耐心等待！'),
    },
    {
      label: 'a value in every 80 characters',
      text: repeat('Please write to john.doe@example.com or call 13812345678 about order 20260101123456. '),
    },
  ];
}

/** Returns the median of some runs, in milliseconds of this thread's CPU time. */
function measure(rounds: number, run: () => unknown): number {
  run();
  return computeMedian(
    Array.from({ length: rounds }, () => {
      const before = process.threadCpuUsage();
      run();
      const { user, system } = process.threadCpuUsage(before);
      return (user + system) / 1_000;
    }),
  );
}

function repeat(count: number, run: () => unknown): void {
  for (let done = 0; done < count; done++) run();
}

/** Returns the fastest of some runs, in milliseconds of CPU time. Other work on the machine only adds to a time. */
function findFastest(run: () => unknown): number {
  const times = Array.from({ length: 5 }, () => measure(1, run));
  return Math.min(...times);
}

type Scores = Awaited<ReturnType<typeof measureScores>>;

function toScoreTable(scores: Scores): Table {
  return {
    caption: 'The labelled set',
    columns: ['kind, language', 'values', 'hard negatives', 'recall', 'precision'],
    rows: scores.map(({ kind, language, positives, negatives, recall, precision }) => [
      `${kind}, ${language}`,
      String(positives),
      String(negatives),
      recall.toFixed(3),
      precision.toFixed(3),
    ]),
  };
}

function toTimeTable(times: readonly { label: string; ms: number; floorMs: number }[], rounds: number): Table {
  return {
    caption: `CPU time to search 100,000 characters, median of ${rounds}`,
    columns: ['text', 'ms', 'JSON round trip, ms'],
    rows: times.map(({ label, ms, floorMs }) => [label, formatNumber(ms), formatNumber(floorMs)]),
  };
}

type Hostile = readonly { readonly label: string; readonly ms: number; readonly quarterMs: number }[];

function toHostileTable(hostile: Hostile, length: number): Table {
  return {
    caption: `Hostile texts of ${formatNumber(length)} characters, fastest of 5`,
    columns: ['text', 'ms', '÷ a quarter of the text'],
    rows: hostile.map(({ label, ms, quarterMs }) => [label, formatNumber(ms), formatNumber(ms / quarterMs)]),
  };
}

function toShareBudgets(scores: Scores): Budget[] {
  return (['recall', 'precision'] as const).map((share) => ({
    metric: `lowest ${share} of a kind in a language`,
    measured: { label: share, value: Math.min(...scores.map((score) => score[share])), unit: '' },
    against: { label: 'all', value: 1, unit: '' },
    limit: SHARE_LIMIT,
    isFloor: true,
  }));
}

function toGrowthBudget(hostile: Hostile): Budget {
  const [worst] = hostile.toSorted((a, b) => b.ms / b.quarterMs - a.ms / a.quarterMs);
  return {
    metric: `time of a hostile text against a quarter of it (${worst?.label})`,
    measured: { label: 'text', value: worst?.ms ?? Number.NaN, unit: 'ms' },
    against: { label: 'quarter', value: worst?.quarterMs ?? Number.NaN, unit: 'ms' },
    limit: GROWTH_LIMIT,
  };
}
