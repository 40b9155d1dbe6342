import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContentRule, TermRule } from '../../../../shared/access/content-policy-schema.ts';
import type { GenerationEvent, GenerationRequest } from '../../../../shared/inference/generation.ts';
import { mergeModerations } from '../../../../shared/safety/moderation/score-content.ts';
import { withRules } from '../../../../shared/safety/rules/rules-router.ts';
import { collect, makeRequest } from '../../inference/requests.ts';
import { cut, FINISH, joinTexts, OPTIONS, stream } from '../answers.ts';

const FILTERED: GenerationEvent = { type: 'finish', reason: 'contentFilter', usage: undefined };

/** Returns the events of an answer that rules hold back. */
async function hold(
  contentRules: readonly ContentRule[],
  events: AsyncIterable<GenerationEvent>,
  request: Partial<GenerationRequest> = {},
): Promise<AsyncIterable<GenerationEvent>> {
  const policy = { project: { contentRules } };
  const router = withRules(policy, { generate: async () => ({ events }) });
  return (await router.generate(makeRequest(request), OPTIONS)).events;
}

/** Returns what of an answer passes rules. */
const pass = async (rules: readonly ContentRule[], events: readonly GenerationEvent[]): Promise<GenerationEvent[]> =>
  collect(await hold(rules, stream(events)));

const toText = (text: string): GenerationEvent => ({ type: 'text', text });
const toArguments = (fragment: string): GenerationEvent => ({ type: 'toolArguments', index: 0, fragment });
const FALCON: ContentRule = { id: 'falcon', terms: ['falcon'] };

const KINDS: readonly (readonly [string, (piece: string) => GenerationEvent])[] = [
  ['text', toText],
  ['reasoning', (text) => ({ type: 'reasoning', text })],
  ['refusal', (text) => ({ type: 'refusal', text })],
  ['toolArguments', toArguments],
];

const few = fc.constantFrom('a', 'b', 'c');
const term = fc.string({ unit: few, minLength: 1, maxLength: 4 });
const cuts = fc.array(fc.nat(), { maxLength: 40 });

interface Span {
  readonly start: number;
  readonly end: number;
}

const isWithin = (inner: Span, outer: Span): boolean => outer.start <= inner.start && inner.end <= outer.end;
const listMatches = (whole: string, pattern: RegExp): Span[] =>
  [...whole.matchAll(pattern)].map(({ index, 0: { length } }) => ({ start: index, end: index + length }));

/** Returns the offset of the first denied span that no allowed one contains; undefined without any. */
function findDenied(denied: readonly Span[], allowed: readonly Span[]): number | undefined {
  const starts = denied.filter((span) => !allowed.some((each) => isWithin(span, each))).map(({ start }) => start);
  return starts.length === 0 ? undefined : Math.min(...starts);
}

/** Expects that events pass unaltered, or that nothing passes of the text from an offset on. */
async function expectHeld(
  rule: ContentRule,
  events: readonly GenerationEvent[],
  at: number | undefined,
): Promise<void> {
  const passed = await pass([rule], events);
  if (at === undefined) return expect(passed).toEqual(events);
  expect(passed.at(-1)).toEqual(FILTERED);
  const sent = joinTexts(passed);
  expect(joinTexts(events).startsWith(sent)).toBe(true);
  expect(sent.length).toBeLessThanOrEqual(at);
}

describe.each(KINDS)('an answer of %s events', (_, toEvent) => {
  it('an answer is sent without any part of a denied term, and otherwise unaltered, however it is split', async () => {
    const terms = fc.array(term, { minLength: 1, maxLength: 3 });
    const allowed = fc.array(term, { maxLength: 2 });
    const text = fc.string({ unit: few, maxLength: 40 });
    const listSpans = (whole: string, each: string): Span[] =>
      [...whole].flatMap((_character, start) =>
        whole.startsWith(each, start) ? [{ start, end: start + each.length }] : [],
      );
    await fc.assert(
      fc.asyncProperty(terms, allowed, text, cuts, async (denied, allow, whole, positions) => {
        const at = findDenied(
          denied.flatMap((each) => listSpans(whole, each)),
          allow.flatMap((each) => listSpans(whole, each)),
        );
        const events = [...cut(whole, positions).map(toEvent), FINISH];
        await expectHeld({ id: 'terms', terms: denied, allow }, events, at);
      }),
      { numRuns: 300 },
    );
  });

  it('an answer is sent without any part of a term of two words, with any white space between them', async () => {
    const space = fc.constantFrom(' ', '  ', '\n', '\t ', '\u00a0', '\u2028', '\u0085', ' \u200b ');
    const whole = fc.array(fc.oneof(few, space), { maxLength: 40 }).map((parts) => parts.join(''));
    const terms = fc.array(fc.tuple(term, space, term), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(terms, whole, cuts, async (denied, text, positions) => {
        const spans = denied.flatMap(([first, , second]) =>
          listMatches(text, new RegExp(`${first}[\\s\\u0085\\u200b]+${second}`, 'g')),
        );
        const events = [...cut(text, positions).map(toEvent), FINISH];
        await expectHeld({ id: 'terms', terms: denied.map((each) => each.join('')) }, events, findDenied(spans, []));
      }),
      { numRuns: 300 },
    );
  });

  it('an answer is sent without any part of what matches a pattern, however it is split', async () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' '), maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(text, cuts, async (whole, positions) => {
        // Longer matches than the rule allows for are denied as soon as they are that long.
        fc.pre(!/b{4}/.test(whole));
        const at = findDenied(listMatches(whole, /ab+c|\bcc\b/g), listMatches(whole, /bab+ca/g));
        const events = [...cut(whole, positions).map(toEvent), FINISH];
        await expectHeld({ id: 'p', pattern: 'ab+c|\\bcc\\b', maxLength: 6, allow: ['bab+ca'] }, events, at);
      }),
      { numRuns: 300 },
    );
  });
});

describe('terms', () => {
  const isDenied = async (rule: Omit<TermRule, 'id'>, whole: string): Promise<boolean> =>
    (await pass([{ id: 'a', ...rule }], [...[...whole].map(toText), FINISH])).includes(FINISH) === false;

  it.each([
    ['falcon', 'Project FALCON starts'],
    ['FALCON', 'falcon'],
    ['falcon', 'f\u200Ba\u00ADlco\u2060n'],
    ['falcon', 'ｆａｌｃｏｎ'],
    ['offline', 'oﬄine'],
    ['straße', 'STRASSE'],
    ['STRASSE', 'straße'],
    ['οδος', 'ΟΔΟΣ'],
    ['café', 'cafe\u0301'],
    ['cafe\u0301', 'CAFÉ'],
    ['ṩ', 's\u0307\u0323'],
    ['s\u0323\u0307x', 'ṡ\u0323x'],
    ['각', '\u1100\u1161\u11A8'],
    ['机密', '这是机密文件'],
    ['a b', 'A\u00A0B'],
    ['Project Falcon', 'PROJECT  Falcon'],
    ['Project Falcon', 'project\r\n\tfalcon'],
    ['Project Falcon', 'Project \u00a0\u3000\u2009Falcon'],
    ['Project \t Falcon', 'Project Falcon'],
    ['Project Falcon', `Project${' '.repeat(200)}Falcon`],
    ['a \u0308b', 'a  \u0308b a \u0308b'],
    ['😀x', 'say 😀X'],
  ])('the term %j is found in %j', async (each, whole) => {
    expect(await isDenied({ terms: [each] }, whole)).toBe(true);
  });

  it.each([
    ['ano', 'año'],
    ['cafe', 'café'],
    ['cafe', 'cafe\u0301'],
    ['가', '각'],
    ['falcon', 'falco n'],
    ['Project Falcon', `Project${' '.repeat(201)}Falcon`],
    ['Project  Falcon', 'ProjectFalcon'],
  ])('the term %j is not found in %j', async (each, whole) => {
    expect(await isDenied({ terms: [each] }, whole)).toBe(false);
  });

  it.each([
    ['classic', false],
    ['an ass', true],
    ['ass.', true],
    ['(Ass)', true],
    ['ass1', false],
    ['bass', false],
    ['bass ass', true],
  ])('in %j a term of whole words is found: %s', async (whole, expected) => {
    expect(await isDenied({ terms: ['ass'], wholeWords: true }, whole)).toBe(expected);
  });

  it.each([
    ['JSON', '{"input":"\\u006a\\u0073on"}', 10],
    ['a "quoted" b', '{"input":"a \\"quoted\\" b"}', 10],
    ['C:\\secret', '{"path":"C:\\\\secret"}', 9],
    ['line\nbreak', '{"x":"line\\nbreak"}', 6],
    ['😀', '{"x":"\\ud83d\\ude00"}', 6],
  ])('the term %j is found in the tool arguments %s, whose text is escaped', async (each, json, at) => {
    await expectHeld({ id: 'a', terms: [each] }, [...[...json].map(toArguments), FINISH], at);
  });

  it('a term is found in an answer in JSON, whose text is escaped', async () => {
    const events = [...[...'{"a":"\\u0066alcon"}'].map(toText), FINISH];
    const passed = async (request: Partial<GenerationRequest>) =>
      collect(await hold([FALCON], stream(events), request));
    expect(await passed({ format: { type: 'json' } })).toEqual([...[...'{"a":"'].map(toText), FILTERED]);
    expect(await passed({ format: { type: 'text' } })).toEqual(events);
  });

  it('tool arguments that end within an escape arrive completely', async () => {
    const events = [toArguments('{"x":"\\u00'), FINISH];
    expect(await pass([FALCON], events)).toEqual(events);
  });

  it('a term is found on both sides of a tool call, although its first part has left', async () => {
    const call: GenerationEvent = { type: 'toolCall', index: 0, id: 'call', name: 'look' };
    expect(await pass([FALCON], [toText('Fal'), call, toText('con'), FINISH])).toEqual([toText('Fal'), call, FILTERED]);
  });

  it.each<GenerationEvent>([
    { type: 'toolCall', index: 0, id: 'call', name: 'falcon' },
    { type: 'reasoningEnd', details: [{ type: 'reasoning.text', text: 'falcon' }] },
  ])('the strings of an event are checked: %j', async (event) => {
    expect(await pass([FALCON], [event, FINISH])).toEqual([FILTERED]);
  });
});

it('text that cannot be part of a term is sent at once', async () => {
  let sent = '';
  async function* upstream(): AsyncGenerator<GenerationEvent> {
    yield toText('All is well.');
    expect(sent).toBe('All is well.');
    yield toText(' Project F');
    expect(sent).toBe('All is well.');
    yield toText('alls');
    expect(sent).toBe('All is well. Project Falls');
    yield FINISH;
  }
  expect.assertions(3);
  for await (const event of await hold([FALCON], upstream())) if (event.type === 'text') sent += event.text;
});

it('a flagged term is sent at once and reported once, by the name of its rule', async () => {
  const lines: object[] = [];
  const logger = { summarize: (message: string, fields: object) => lines.push({ message, ...fields }) };
  const telemetry = { logger, metrics: { publish: (values: object) => lines.push(values) } } as never;
  const policy = { project: { contentRules: [{ id: 'watch', terms: ['falcon'], action: 'flag' as const }] } };
  const events = [toText('falcon falcon'), toText('falcon'), FINISH];
  const router = withRules(policy, { generate: async () => ({ events: stream(events) }) });
  const answer = await router.generate(makeRequest(), { ...OPTIONS, telemetry });
  expect(await collect(answer.events)).toEqual(events);
  expect(lines).toEqual([
    { message: 'guardrail', record: 'guardrail', kind: 'rule', rule: 'watch', side: 'output', action: 'flag' },
    { ContentFlagged: [1, 'Count'] },
  ]);
});

it('a rule that ends an answer closes the connection of the upstream', async () => {
  let isClosed = false;
  async function* upstream(): AsyncGenerator<GenerationEvent> {
    try {
      yield toText('falcon falcon');
      yield FINISH;
    } finally {
      isClosed = true;
    }
  }
  expect(await collect(await hold([FALCON], upstream()))).toEqual([FILTERED]);
  expect(isClosed).toBe(true);
});

describe('the usage of a refused answer', () => {
  const rule: ContentRule = { id: 'falcon', terms: ['falcon'], wholeWords: true };
  const usage = { inputTokens: 3, cachedInputTokens: 0, outputTokens: 2, reasoningTokens: 0 };
  const nothing = mergeModerations([]);
  const finish: GenerationEvent = {
    ...{ type: 'finish', reason: 'stop', usage, serviceTier: 'flex' },
    ...{ stopSequence: 'x', moderation: { model: 'm', input: nothing, output: nothing } },
  };

  it('an answer that is refused when it is complete keeps its usage and service tier', async () => {
    const ended: GenerationEvent = { type: 'finish', reason: 'contentFilter', usage, serviceTier: 'flex' };
    expect(await pass([rule], [toText('a falcon'), finish])).toEqual([ended]);
  });

  it('an answer that is refused before its end has none', async () => {
    expect(await pass([rule], [toText('a falcon'), toText(' flies'), finish])).toEqual([FILTERED]);
  });
});

it('the failure of an upstream is thrown, and what was held back is not sent', async () => {
  async function* upstream(): AsyncGenerator<GenerationEvent> {
    yield toText('Fal');
    throw new Error('cut');
  }
  const sent: GenerationEvent[] = [];
  const read = async (): Promise<void> => {
    for await (const event of await hold([FALCON], upstream())) sent.push(event);
  };
  await expect(read()).rejects.toThrow('cut');
  expect(sent).toEqual([]);
});
