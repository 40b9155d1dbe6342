import type { ConverseBody } from './converse-request.ts';
import type { Responder } from './frames.ts';
import { extractWords, type Hit, type Library, readOwnDocuments, type Section } from './library.ts';
import { createMinimalInstance } from './schema-instance.ts';
import { callTool, say } from './speech.ts';

/** The model id under which the stand-in serves the guide. */
export const GUIDE_MODEL = 'lambent.guide-v1:0';

export interface GuideOptions {
  /** Returns the documents to search; this project's when absent. Called for each answer. */
  readonly library?: () => Library;
  /** Milliseconds between words, about the pace of a fast model when absent. */
  readonly wordMs?: number;
}

/**
 * Creates the built-in guide. It answers questions about Lambent with passages from the project's documents, and says
 * that it is a search, not a language model. It accepts every request: a tool that it must call, or a schema that its
 * answer must match, gets the smallest values that are valid, with this statement in every text.
 */
export function createGuide({ library = readOwnDocuments, wordMs = 8 }: GuideOptions = {}): Responder {
  return (call) => {
    const tool = findForcedTool(call.body);
    if (tool !== undefined) return callTool(tool.name, describeItself(tool.inputSchema.json), call);
    return say(replyAsJson(call.body) ?? reply(library(), call.body), call, { wordMs });
  };
}

/** Fills strings of answers whose form is given: there, the guide can't look anything up. */
const STATEMENT = "I am Lambent's built-in guide, not a language model.";

/** Returns the smallest value that a schema allows, with the guide's statement in every text. */
function describeItself(schema: unknown): unknown {
  return allowsAnyObject(schema) ? { answer: STATEMENT } : createMinimalInstance(schema, { text: STATEMENT });
}

function allowsAnyObject(schema: unknown): boolean {
  const limits = ['properties', 'required', 'additionalProperties', 'anyOf', 'oneOf', 'allOf', '$ref', 'const', 'enum'];
  const isObject = typeof schema === 'object' && schema !== null && 'type' in schema && schema.type === 'object';
  return isObject && !limits.some((key) => key in schema);
}

type Tool = NonNullable<NonNullable<ConverseBody['toolConfig']>['tools'][number]['toolSpec']>;

/** Returns the tool that a request forces the model to call. Undefined if it may answer with text. */
function findForcedTool({ toolConfig, additionalModelRequestFields }: ConverseBody): Tool | undefined {
  const choice = toolConfig?.toolChoice;
  if (toolConfig === undefined || choice === undefined || additionalModelRequestFields?.['tool_choice'])
    return undefined;
  const tools = toolConfig.tools.flatMap(({ toolSpec }) => toolSpec ?? []);
  if ('any' in choice) return tools[0];
  const named: unknown = choice['tool'];
  return tools.find(
    ({ name }) => typeof named === 'object' && named !== null && 'name' in named && named.name === name,
  );
}

/** Returns the answer to a request for JSON. Undefined if the request is for text. */
function replyAsJson({ outputConfig }: ConverseBody): string | undefined {
  const format = outputConfig?.textFormat?.structure.jsonSchema;
  if (format === undefined) return undefined;
  return JSON.stringify(describeItself(JSON.parse(format.schema)));
}

/** Returns the guide's whole answer to a conversation, as Markdown. */
export function reply(library: Library, body: ConverseBody): string {
  const questions = body.messages.filter(({ role }) => role === 'user').map(extractText);
  const question = questions.at(-1) ?? '';
  const isFirstAnswer = !body.messages.some(({ role }) => role === 'assistant');
  const asides = listLimitations(body);
  if (isGreeting(question)) return [...asides, writeGreeting(library)].join('\n\n');
  if (isThanks(question)) return [...asides, 'You are welcome. Ask me anything else about Lambent.'].join('\n\n');
  const hits = findSections(library, questions);
  if (hits.length === 0) return [...asides, writeNothingFound(library, question)].join('\n\n');
  return [...asides, ...(isFirstAnswer ? [INTRODUCTION] : []), ...writePassages(hits)].join('\n\n');
}

const INTRODUCTION = '*From the documentation. I am a search engine, not a language model.*';

/** Returns the text of a message without the XML elements that programs such as Codex add: `<environment_context>…`. */
function extractText({ content }: ConverseBody['messages'][number]): string {
  const text = content.flatMap((block) => block.text ?? []).join('\n');
  const own = text.replaceAll(/<([a-z][\w-]*)>[\s\S]*?<\/\1>/gi, '').trim();
  return own === '' ? text : own;
}

/** Returns a sentence for each part of the request that the guide can't use. */
function listLimitations({ messages, toolConfig }: ConverseBody): string[] {
  const last = messages.at(-1)?.content ?? [];
  return [
    ...(last.some(({ image }) => image) ? ["I can't see images; I can only look up what you write."] : []),
    ...(toolConfig ? ["I don't call tools; I only look things up in Lambent's documentation."] : []),
  ];
}

const GREETING =
  /^(hi|hello|hey|hallo|hola|bonjour|ciao|good (morning|day|afternoon|evening)|help|test|ping|who are you|what are you|what can you do|what do you do|how are you)\b[^\p{L}]*(there|you|guide|lambent|everyone)?[^\p{L}]*$/iu;

function isGreeting(question: string): boolean {
  return !/\p{L}/u.test(question) || GREETING.test(question.trim());
}

function isThanks(question: string): boolean {
  return /^(thanks?|thank you|thx|danke|merci|gracias|great|perfect|ok(ay)?|cool|nice)\b[^?]{0,30}$/i.test(
    question.trim(),
  );
}

function writeGreeting(library: Library): string {
  return [
    [
      "Hello! I am Lambent's built-in guide. I am not a language model:",
      "I search this project's documentation and show you what it says.",
    ].join(' '),
    `Ask me something, for example:\n\n${suggestQuestions(library)}`,
    'For a real model set `OPENAI_API_KEY`, sign in to AWS, start Ollama, or set `MODELS_FILE`, and start again.',
  ].join('\n\n');
}

const EXAMPLES = [
  'What is Lambent?',
  'How do I add a model?',
  'How do I call it with the OpenAI client?',
  'Which parts of the API are supported?',
  'How is it deployed?',
];

/** Returns a list of questions that the documents answer. */
function suggestQuestions(library: Library): string {
  const answered = EXAMPLES.filter((example) => findSections(library, [example]).length > 0);
  const titles = library.sections.slice(0, 5).map(({ title }) => title);
  return (answered.length > 0 ? answered : titles).map((line) => `- ${line}`).join('\n');
}

/** A request to ask in English, for questions in scripts that the documents don't use. */
const OTHER_SCRIPTS: readonly (readonly [RegExp, string])[] = [
  [/[\p{Script=Hiragana}\p{Script=Katakana}]/u, 'ドキュメントは英語のみです。英語で質問してください。'],
  [/\p{Script=Han}/u, '文档只有英文,请用英文提问。'],
  [/\p{Script=Hangul}/u, '문서는 영어로만 되어 있습니다. 영어로 질문해 주세요.'],
  [/\p{Script=Cyrillic}/u, 'Документация есть только на английском, пожалуйста, спрашивайте по-английски.'],
];

function writeNothingFound(library: Library, question: string): string {
  const request = OTHER_SCRIPTS.find(([script]) => script.test(question))?.[1];
  return [
    ...(request ? [request] : []),
    [
      'I found nothing about that. I am not a language model:',
      "I can only show what Lambent's documentation says, which is in English.",
    ].join(' '),
    `You can ask me, for example:\n\n${suggestQuestions(library)}`,
    'For a real model set `OPENAI_API_KEY`, sign in to AWS, start Ollama, or set `MODELS_FILE`, and start again.',
  ].join('\n\n');
}

/**
 * A section is an answer if it contains more than this share of the question's words. It is also an answer if the
 * question has only one word, or contains all words of the section's title.
 */
const MIN_COVERAGE = 0.5;

/**
 * Returns the sections that answer the last question, best first. A question that says too little by itself ("and
 * how?", "why is that?") is searched for together with the previous one.
 */
function findSections(library: Library, questions: readonly string[]): Hit[] {
  const question = questions.at(-1) ?? '';
  const earlier = questions.slice(0, -1).findLast((text) => extractWords(text).length > 0);
  const wordCount = extractWords(question).length;
  if (earlier !== undefined && (wordCount === 0 || (wordCount < 3 && FOLLOWS_UP.test(question)))) {
    return library.search(question, earlier);
  }
  if (wordCount === 0) return /\blambent\b/i.test(question) ? findOverview(library) : [];
  return library
    .search(question)
    .filter(({ coverage, matchesTitle }) => wordCount === 1 || matchesTitle || coverage > MIN_COVERAGE);
}

/** Matches the beginning of a follow-up question, and pronouns that refer to the previous one. */
const FOLLOWS_UP = /^\W*(and|but|so|why|how about|what about|then|also|ok)\b|\b(it|that|this|them|those|these)\b/i;

/** Answers "What is Lambent?", which has no word to search for, with the first section of the README. */
function findOverview(library: Library): Hit[] {
  const [section] = library.sections;
  return section ? [{ section, score: 1, coverage: 1, matchesTitle: true, words: [] }] : [];
}

/** Maximum length of an answer's main passage: about a screen. */
const MAX_PASSAGE_CHARACTERS = 1_600;
/** A second section is shown if its score is at least this share of the first one's. */
const SECOND_SECTION_RATIO = 0.7;

function writePassages(hits: readonly Hit[]): string[] {
  const [best, second] = hits;
  if (!best) return [];
  const lines = [selectBlocks(best, MAX_PASSAGE_CHARACTERS), citeSource(best.section)];
  if (second && second.score >= best.score * SECOND_SECTION_RATIO) {
    lines.push(
      `**${second.section.title}**`,
      selectBlocks(second, MAX_PASSAGE_CHARACTERS / 3),
      citeSource(second.section),
    );
  }
  const others = hits.slice(second && lines.length > 2 ? 2 : 1, 5).map(({ section }) => formatLocation(section));
  if (others.length > 0) lines.push(`See also: ${[...new Set(others)].slice(0, 3).join('; ')}.`);
  return lines;
}

/** Returns the blocks of a section that match the question best, in order, within `room` characters. */
function selectBlocks({ section, words }: Hit, room: number): string {
  const { blocks } = section;
  const whole = blocks.join('\n\n');
  if (whole.length <= room) return whole;
  const scores = blocks.map((block, index) => {
    const found = new Set(extractWords(block));
    // The first block introduces the section, so it gets a small bonus.
    return words.filter((word) => found.has(word)).length + (index === 0 ? 0.5 : 0);
  });
  const chosen = new Set<number>();
  let left = room;
  const byScore = blocks.map((_, index) => index).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
  for (const index of byScore) {
    const length = blocks[index]?.length ?? 0;
    if (chosen.size > 0 && length > left) continue;
    chosen.add(index);
    left -= length;
  }
  return blocks.flatMap((block, index) => (chosen.has(index) ? [shortenBlock(block, words, room)] : [])).join('\n\n');
}

/** Shortens a list or table that is longer than `room` to the rows that match the question. */
function shortenBlock(block: string, words: readonly string[], room: number): string {
  const rows = block.split('\n');
  if (block.length <= room || !/^\s*([|*-]|\d+\.)/.test(block)) return block;
  const head = rows[0]?.startsWith('|') ? 2 : 0;
  const kept = rows.filter((row, index) => index < head || extractWords(row).some((word) => words.includes(word)));
  return kept.length > head ? kept.join('\n') : block;
}

function citeSource(section: Section): string {
  return `— ${formatLocation(section)}`;
}

function formatLocation({ document, title, trail }: Section): string {
  return trail.length === 0 && title === document ? document : `${document}, “${title}”`;
}
