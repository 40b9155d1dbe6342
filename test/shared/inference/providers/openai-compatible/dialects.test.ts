import fc from 'fast-check';
import { expect, it } from 'vitest';
import { collectOutcome, expectUpstreamError, summarize } from './calls.ts';
import { expectOrder, readEvents, readStream, splitAt } from './streams.ts';

const TOOLS = ['get_time', 'get_weather', 'get_weather_report', 'roll'];

interface Call {
  readonly name: string;
  readonly arguments: string;
}

interface Answer {
  readonly thoughts: readonly string[];
  readonly texts: readonly string[];
  readonly calls: readonly Call[];
}

type Json = Readonly<Record<string, unknown>>;

const words = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((text) => text.trim() !== '');
const calls = fc.record({
  name: fc.constantFrom(...TOOLS),
  // At least one property, because an empty object may also announce arguments that follow.
  arguments: fc
    .dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.dictionary(fc.string(), fc.string())), {
      minKeys: 1,
      maxKeys: 3,
    })
    .map((object) => JSON.stringify(object)),
});
const answers: fc.Arbitrary<Answer> = fc.record({
  thoughts: fc.array(words, { maxLength: 3 }),
  texts: fc.array(words, { minLength: 1, maxLength: 4 }),
  calls: fc.array(calls, { maxLength: 3 }),
});

/** How fragments of calls are numbered and identified. */
const NUMBERINGS = [
  'openai',
  'zero-without-ids',
  'zero-with-ids',
  'ids-only',
  'same-id',
  'complete',
  'by-fragment',
] as const;
const dialects = fc.record({
  numbering: fc.constantFrom(...NUMBERINGS),
  argumentCuts: fc.array(fc.nat(40), { maxLength: 3 }),
  reasoning: fc.constantFrom('reasoning_content', 'reasoning', 'reasoning_details', 'both', 'think'),
  names: fc.constantFrom('whole', 'pieces', 'repeated'),
  argumentsBegin: fc.constantFrom('with-name', 'later', 'empty-object'),
  end: fc.constantFrom('alone', 'with-content', 'everywhere', 'missing', 'repeated-message', 'null-text'),
  done: fc.boolean(),
  framing: fc.constantFrom('framed', 'bare', 'mixed'),
  cuts: fc.array(fc.nat(4_000), { maxLength: 12 }),
});
type Dialect = typeof dialects extends fc.Arbitrary<infer T> ? T : never;

it('every mixture of dialects, split anywhere, gives the same answer', async () => {
  await fc.assert(
    fc.asyncProperty(answers, dialects, async (answer, dialect) => {
      const bytes = Buffer.from(writeStream(answer, dialect));
      const events = await readEvents(splitAt(bytes, dialect.cuts), { tools: TOOLS });
      expectOrder(events);
      const { calls: made = [], reason, usage: _, ...texts } = summarize(events);
      expect({ reasoning: '', ...texts }).toEqual(expectTexts(answer, dialect));
      expect(made.map(({ name, arguments: text }) => ({ name, arguments: text }))).toEqual(answer.calls);
      expect(new Set(made.map(({ id }) => id)).size).toBe(made.length);
      expect(reason).toBe(answer.calls.length > 0 ? 'toolCalls' : 'stop');
    }),
    { numRuns: 600 },
  );
});

it('every mixture of dialects that is cut before its end is no whole answer', async () => {
  await fc.assert(
    fc.asyncProperty(answers, dialects, fc.nat(), async (answer, dialect, at) => {
      const text = writeStream(answer, { ...dialect, end: 'alone', done: true });
      const whole = text.lastIndexOf('"finish_reason":"');
      const bytes = Buffer.from(text.slice(0, at % whole));
      const outcome = await collectOutcome(readStream([bytes], { tools: TOOLS }));
      expectUpstreamError(outcome);
      expect(outcome.events.some(({ type }) => type === 'finish')).toBe(false);
    }),
    { numRuns: 200 },
  );
});

function expectTexts({ thoughts, texts }: Answer, { reasoning }: Dialect) {
  const text = texts.join('');
  const thought = thoughts.join('');
  // The line breaks between the tag and the text belong to neither.
  return { text: reasoning === 'think' && thought !== '' ? text.trimStart() : text, reasoning: thought };
}

function writeStream(answer: Answer, dialect: Dialect): string {
  const deltas = [
    ...writeThoughts(answer, dialect),
    ...answer.texts.map((content) => ({ content })),
    ...writeCalls(answer.calls, dialect),
  ];
  const chunks = [
    { delta: { role: 'assistant', content: '' }, finish_reason: null },
    ...addEnding(deltas, answer, dialect),
  ];
  const lines = chunks.map((choice, index) => {
    const json = JSON.stringify({ id: 'x', choices: [{ index: 0, ...choice }] });
    const isFramed = dialect.framing === 'framed' || (dialect.framing === 'mixed' && index % 2 === 0);
    return isFramed ? `data: ${json}\n\n` : `${json}\n`;
  });
  const needsDone = dialect.done || dialect.end === 'missing';
  return `${lines.join('')}${needsDone ? 'data: [DONE]\n\n' : ''}`;
}

function addEnding(deltas: readonly Json[], { calls }: Answer, { end }: Dialect): Json[] {
  const reason = calls.length > 0 ? 'tool_calls' : 'stop';
  const last = deltas.length - 1;
  const choices = deltas.map((delta, index) => {
    const early = end === 'everywhere' || (end === 'with-content' && index === last);
    return { delta, finish_reason: early ? reason : end === 'null-text' ? 'null' : null };
  });
  if (end === 'missing' || end === 'with-content' || end === 'everywhere') return choices;
  if (end !== 'repeated-message') return [...choices, { delta: {}, finish_reason: reason }];
  const content = deltas.map((delta) => delta['content'] ?? '').join('');
  const whole = calls.map((call, index) => ({ index, id: `whole-${index}`, type: 'function', function: call }));
  return [...choices, { message: { role: 'assistant', content, tool_calls: whole }, finish_reason: reason }];
}

function writeThoughts({ thoughts }: Answer, { reasoning }: Dialect): Json[] {
  if (thoughts.length === 0) return [];
  switch (reasoning) {
    case 'think':
      return [{ content: '<think>' }, ...thoughts.map((content) => ({ content })), { content: '</think>\n\n' }];
    case 'both':
      return thoughts.map((text) => ({ reasoning: text, reasoning_content: text }));
    case 'reasoning_details':
      return thoughts.map((text) => ({ reasoning_details: [{ type: 'reasoning.text', text, index: 0 }] }));
    default:
      return thoughts.map((text) => ({ [reasoning]: text }));
  }
}

function writeCalls(made: readonly Call[], dialect: Dialect): Json[] {
  let fragments = 0;
  return made.flatMap((call, position) => {
    const pieces =
      dialect.numbering === 'complete' ? [call.arguments] : splitText(call.arguments, dialect.argumentCuts);
    return writeFragments(call, pieces, dialect).map((definition, index) => {
      const isFirst = index === 0;
      const identity = {
        openai: { index: position, ...(isFirst && { id: `call-${position}` }) },
        'zero-without-ids': { index: 0, id: '' },
        'zero-with-ids': { index: 0, ...(isFirst && { id: `call-${position}` }) },
        'ids-only': { id: `call-${position}` },
        'same-id': { index: position, id: 'call' },
        complete: {},
        'by-fragment': { index: fragments++, ...(isFirst && { id: `call-${position}` }) },
      }[dialect.numbering];
      return { tool_calls: [{ ...identity, type: 'function', function: definition }] };
    });
  });
}

/** Writes a call as definitions with a part of the name or of the arguments. */
function writeFragments(
  { name }: Call,
  pieces: readonly string[],
  { numbering, names, argumentsBegin }: Dialect,
): Json[] {
  const [first = '', ...rest] = pieces;
  if (numbering === 'complete') return [{ name, arguments: first }];
  // Without a number that all fragments share, nothing connects the pieces of a name or its repetitions.
  const sharesNumber = numbering === 'openai' || numbering === 'zero-with-ids';
  if (names === 'pieces' && sharesNumber)
    return [
      { name: name.slice(0, 3), arguments: '' },
      { name: name.slice(3) },
      ...pieces.map((text) => ({ arguments: text })),
    ];
  const later = rest.map((text) => ({ ...(names === 'repeated' && sharesNumber && { name }), arguments: text }));
  if (argumentsBegin === 'with-name') return [{ name, arguments: first }, ...later];
  const begin = argumentsBegin === 'empty-object' ? {} : '';
  return [{ name, arguments: begin }, { arguments: first }, ...later];
}

function splitText(text: string, cuts: readonly number[]): string[] {
  const places = [...new Set(cuts.filter((at) => at > 0 && at < text.length))].sort((a, b) => a - b);
  return [0, ...places].map((from, index) => text.slice(from, places[index]));
}
