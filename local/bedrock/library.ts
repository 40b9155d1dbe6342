import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import MiniSearch from 'minisearch';

/** A section of a document: a heading and its content up to the next heading. */
export interface Section {
  readonly id: number;
  /** Path from the project's root: `docs/models.md`. */
  readonly document: string;
  readonly title: string;
  /** The headings that contain this one, outermost first. */
  readonly trail: readonly string[];
  /** Paragraphs, lists, tables and code blocks, as Markdown. */
  readonly blocks: readonly string[];
}

export interface Hit {
  readonly section: Section;
  readonly score: number;
  /** Share of the question's words found in the section, from 0 to 1. */
  readonly coverage: number;
  /** True if the question contains all words of the section's title. */
  readonly matchesTitle: boolean;
  /** The section's words that matched. */
  readonly words: readonly string[];
}

/** A full-text index of documents' sections. */
export class Library {
  readonly sections: readonly Section[];
  readonly #index: MiniSearch;

  constructor(sections: readonly Section[]) {
    this.sections = sections;
    this.#index = new MiniSearch({
      fields: ['title', 'trail', 'body'],
      processTerm: stemWord,
      tokenize,
      searchOptions: {
        boost: { title: 4, trail: 1.5 },
        boostDocument: (id) => weighDocument(sections[id]?.document ?? ''),
        prefix: (term) => term.length > 3,
        fuzzy: chooseFuzziness,
      },
    });
    this.#index.addAll(
      sections.filter(isNotLinkList).map(({ id, title, trail, document, blocks }) => ({
        id,
        title,
        trail: [...trail, document].join(' '),
        body: blocks.join('\n'),
      })),
    );
  }

  /**
   * Returns the sections that match a question, best first, ranked by BM25+.
   * @param context the previous question, whose words count less
   */
  search(question: string, context = ''): Hit[] {
    const questionWords = extractWords(question).slice(0, MAX_WORDS);
    const related = [...extractWords(context), ...questionWords.flatMap((term) => RELATED[term] ?? [])];
    const terms = [...new Set([...questionWords, ...related])].slice(0, MAX_WORDS);
    if (terms.length === 0) return [];
    const counted = questionWords.length > 0 ? questionWords : terms;
    const found = this.#index.search(terms.join(' '), {
      boostTerm: (_term, index) => (index < questionWords.length ? 1 : RELATED_WEIGHT),
    });
    const hits = found.flatMap(({ id, score, queryTerms, terms: words }): Hit[] => {
      const section = this.sections[id];
      const coverage = countFoundWords(counted, new Set(queryTerms)) / counted.length;
      if (!section) return [];
      const title = extractWords(section.title);
      const matchesTitle = title.length > 0 && title.every((term) => questionWords.includes(term));
      return [{ section, score: score * coverage ** 2, coverage, matchesTitle, words }];
    });
    return hits.sort((a, b) => b.score - a.score);
  }
}

/** Counts the words that were found. A word counts half if only a related word was found. */
function countFoundWords(words: readonly string[], found: ReadonlySet<string>): number {
  const share = (term: string): number => {
    if (found.has(term)) return 1;
    return RELATED[term]?.some((other) => found.has(other)) ? 0.5 : 0;
  };
  return words.reduce((sum, term) => sum + share(term), 0);
}

/** Maximum number of words in a search. */
const MAX_WORDS = 300;

/** Weight of a word that is related to the question but not part of it. */
const RELATED_WEIGHT = 0.15;

/** Related words: a newcomer's word and the documents' words for the same subject, as stems. */
const RELATED: Readonly<Record<string, readonly string[]>> = {
  start: ['try', 'npm', 'command'],
  run: ['try', 'npm', 'start'],
  install: ['try', 'npm', 'start'],
  begin: ['try', 'npm', 'start'],
  call: ['try', 'curl'],
  key: ['api', 'bearer'],
  deploy: ['operation', 'package', 'aws'],
  cost: ['price', 'provision'],
  fail: ['error', 'retry', 'fallback'],
  broken: ['error', 'log'],
  debug: ['log', 'error'],
  gpt: ['openai'],
  claude: ['bedrock'],
  llama: ['ollama', 'vllm'],
  python: ['client', 'openai'],
  javascript: ['client', 'openai'],
};

/** Returns a document's weight: highest for users' pages, lower for contributors' pages, lowest for benchmarks. */
function weighDocument(document: string): number {
  if (document === 'README.md') return 1.2;
  if (document.startsWith('docs/benchmarks/')) return 0.5;
  return document.startsWith('docs/') && !document.startsWith('docs/decisions/') ? 1.2 : 0.7;
}

/** Returns false for a section that is mostly links. Such a section matches many questions and answers none. */
function isNotLinkList({ blocks }: Section): boolean {
  const text = blocks.join('\n');
  const links = text.match(/\[[^\]]*\]\([^)]*\)/g) ?? [];
  return links.length < 4 || links.join('').length < text.length / 2;
}

/** Reads README.md, CHANGELOG.md, CONTRIBUTING.md and everything under `docs/` of the project at `root`. */
export function readLibrary(root: string): Library {
  const documents = [
    ...['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md'].flatMap((name) => globSync(name, { cwd: root })),
    ...globSync('docs/**/*.md', { cwd: root }).sort(),
  ];
  const sections = documents.flatMap((document) =>
    splitIntoSections(document, readFileSync(join(root, document), 'utf8')),
  );
  return new Library(sections.map((section, id) => ({ ...section, id })));
}

let ownDocuments: Library | undefined;

/** Returns the documents of this project. They are read and indexed once, which takes a tenth of a second. */
export function readOwnDocuments(): Library {
  ownDocuments ??= readLibrary(join(import.meta.dirname, '../..'));
  return ownDocuments;
}

/** Splits a document into sections, one for each heading that has content. */
function splitIntoSections(document: string, markdown: string): Omit<Section, 'id'>[] {
  const sections: Omit<Section, 'id'>[] = [];
  const trail: string[] = [];
  let title = document;
  let blocks: string[] = [];
  const close = (): void => {
    if (blocks.length > 0) sections.push({ document, title, trail: trail.slice(0, -1), blocks });
    blocks = [];
  };
  for (const block of splitIntoBlocks(markdown)) {
    const heading = /^(#{1,6}) +(.+?) *#*$/.exec(block);
    if (!heading?.[1] || !heading[2]) {
      blocks.push(block);
      continue;
    }
    close();
    title = heading[2].replace(/[`*]/g, '');
    trail.length = Math.min(trail.length, heading[1].length - 1);
    trail.push(title);
  }
  close();
  return sections;
}

/** Splits Markdown into blocks: paragraphs, lists, tables, headings and fenced code blocks. */
function splitIntoBlocks(markdown: string): string[] {
  const blocks: string[] = [];
  let lines: string[] = [];
  let fence: string | undefined;
  const close = (): void => {
    const block = lines.join('\n');
    // Comments are only for editors of the page.
    if (block !== '' && !/^<!--.*-->$/s.test(block)) blocks.push(block);
    lines = [];
  };
  for (const line of markdown.split(/\r?\n/)) {
    const mark = /^ {0,3}(```+|~~~+)/.exec(line)?.[1];
    if (fence !== undefined) {
      lines.push(line);
      if (mark?.startsWith(fence)) {
        fence = undefined;
        close();
      }
    } else if (mark !== undefined) {
      close();
      fence = mark;
      lines.push(line);
    } else if (/^#{1,6} /.test(line)) {
      close();
      blocks.push(line);
    } else if (line.trim() === '') close();
    else lines.push(line);
  }
  close();
  return blocks;
}

/** Stop words, as stems. */
const STOP_WORDS = new Set(
  `a about actually all also am an and any are as at be been but by can could did do doe does explain for from get give
  had has have he hello hey hi how i if in into is it its just know lambent let like make may me more much my need no
  not of on one or our out please say should show so some tell than thank that the their them then there these they
  thi this to us use using very want was way we were what when where which who why will with work would you your`.split(
    /\s+/,
  ),
);

function tokenize(text: string): string[] {
  // `MODELS_FILE`, `x-request-id` and `/v1/models` are indexed whole and in parts.
  return text.split(/[^\p{L}\p{N}_./-]+/u).flatMap((token) => {
    const whole = token.replace(/^[./-]+|[./-]+$/g, '');
    const parts = whole.split(/[_./-]+/);
    return parts.length > 1 ? [whole, ...parts] : parts;
  });
}

/** Maximum length of a word. No word of the documents is longer, and a fuzzy search for longer words takes seconds. */
const MAX_WORD_LENGTH = 32;

/** Returns the stem of a word (lower case, without the most common English endings), or null if it isn't indexed. */
function stemWord(term: string): string | null {
  const lower = term.toLowerCase();
  // The documents are in English. A word in another script would always count as missing.
  if (
    lower.length < 2 ||
    lower.length > MAX_WORD_LENGTH ||
    STOP_WORDS.has(lower) ||
    !/[\p{Script=Latin}\d]/u.test(lower)
  )
    return null;
  if (lower.length > 5 && lower.endsWith('ing')) return lower.slice(0, -3).replace(/([^aeiouls])\1$/, '$1');
  if (lower.length > 4 && lower.endsWith('ies')) return `${lower.slice(0, -3)}y`;
  if (lower.length > 4 && lower.endsWith('ed')) return lower.slice(0, -2).replace(/([^aeiouls])\1$/, '$1');
  return lower.length > 3 && /[^su]s$/.test(lower) ? lower.slice(0, -1) : lower;
}

/** Returns how many typing errors a word may have, as a share of its length: none in short words, which look alike. */
function chooseFuzziness(term: string): number | false {
  return term.length > 5 ? 0.2 : false;
}

/** Returns the distinct words of `text` without stop words. */
export function extractWords(text: string): string[] {
  return [...new Set(tokenize(text).flatMap((token) => stemWord(token) ?? []))];
}
