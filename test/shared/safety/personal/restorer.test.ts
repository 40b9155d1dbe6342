import { createSecretKey } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { GenerationEvent, OutputFormat } from '../../../../shared/inference/generation.ts';
import { listHashes, Placeholders } from '../../../../shared/safety/personal/placeholders.ts';
import { restoreAnswer } from '../../../../shared/safety/personal/restore-answer.ts';
import { escapeJson, FragmentRestorer, Restorer } from '../../../../shared/safety/personal/restorer.ts';

const KEY = createSecretKey(Buffer.alloc(32, 7));
const LABELS = ['EMAIL', 'PHONE', 'IP', 'CARD', 'L', 'AIL'];

const values = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 6 });
/** The placeholders of some values, and texts of them, parts of them and other text. */
const cases = values.chain((some) => {
  const placeholders = new Placeholders(KEY, new Set());
  const all = some.map((value, index) => placeholders.get(LABELS[index % LABELS.length] ?? 'IP', value));
  const part = fc
    .constantFrom(...all)
    .chain((placeholder) => fc.nat(placeholder.length).map((length) => placeholder.slice(0, length)));
  const lookalike = fc.constantFrom('EMAIL-aaaaaaaa', 'EMAIL-', 'PHONE-k3f9', 'XEMAIL', '-abcdefgh', 'IP-EMAIL-');
  const text = fc
    .array(fc.oneof(fc.constantFrom(...all), part, lookalike, fc.string({ maxLength: 8 })), { maxLength: 12 })
    .map((parts) => parts.join(''));
  return fc.record({ map: fc.constant(placeholders.values), text, cuts: fc.array(fc.nat(), { maxLength: 20 }) });
});

function split(text: string, cuts: readonly number[]): string[] {
  const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  return places.slice(1).map((end, index) => text.slice(places[index], end));
}

/** Replaces placeholders one after the other, from left to right. */
function restoreSlowly(text: string, map: ReadonlyMap<string, string>, write = (value: string) => value): string {
  let restored = '';
  for (let at = 0; at < text.length; ) {
    const placeholder = [...map.keys()].find((each) => text.startsWith(each, at));
    restored += placeholder === undefined ? text[at] : write(map.get(placeholder) ?? '');
    at += placeholder?.length ?? 1;
  }
  return restored;
}

it('a text is restored in the same way however it is split, and what is held back is shorter than a placeholder', () => {
  fc.assert(
    fc.property(cases, ({ map, text, cuts }) => {
      const restorer = new Restorer(map);
      const longest = Math.max(...[...map.keys()].map(({ length }) => length));
      const fragments = new FragmentRestorer(restorer);
      let received = '';
      let restored = '';
      for (const fragment of split(text, cuts)) {
        received += fragment;
        restored += fragments.push(fragment);
        const held = received.slice(Math.max(0, received.length - longest + 1));
        expect(restoreSlowly(received, map).length - restored.length).toBeLessThanOrEqual(held.length);
      }
      expect(restored + fragments.end()).toBe(restoreSlowly(text, map));
      expect(restorer.restore(text)).toBe(restoreSlowly(text, map));
    }),
    { numRuns: 2_000 },
  );
});

it('a text is restored at each split into three fragments', () => {
  const placeholders = new Placeholders(KEY, new Set());
  const [first, second] = [placeholders.get('EMAIL', 'a@example.com'), placeholders.get('IP', '10.0.0.1')];
  const text = `E${first}${second}EMAIL-${first.slice(6)}${first}`;
  const restorer = new Restorer(placeholders.values);
  const expected = restoreSlowly(text, placeholders.values);
  for (let from = 0; from <= text.length; from++) {
    for (let to = from; to <= text.length; to++) {
      const fragments = new FragmentRestorer(restorer);
      const parts = [text.slice(0, from), text.slice(from, to), text.slice(to)].map((part) => fragments.push(part));
      expect(parts.join('') + fragments.end()).toBe(expected);
    }
  }
});

const FINISH: GenerationEvent = { type: 'finish', reason: 'stop', usage: undefined };

async function* yieldAll(events: readonly GenerationEvent[]): AsyncGenerator<GenerationEvent> {
  yield* events;
}

async function restoreAll(
  events: readonly GenerationEvent[],
  map: ReadonlyMap<string, string>,
  format: OutputFormat['type'] = 'text',
) {
  const restored: GenerationEvent[] = [];
  for await (const event of restoreAnswer(yieldAll(events), map, format)) restored.push(event);
  return restored;
}

const joinTexts = (events: readonly GenerationEvent[], type: string) =>
  events.map((event) => (event.type === type && 'text' in event ? event.text : '')).join('');

const joinArguments = (events: readonly GenerationEvent[], index: number) =>
  events.map((event) => (event.type === 'toolArguments' && event.index === index ? event.fragment : '')).join('');

it('texts, reasoning, refusals and interleaved tool arguments are restored at any split, in valid JSON', async () => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ map, text, cuts }) => {
      const json = JSON.stringify({ a: text });
      const toTexts = (type: 'text' | 'reasoning' | 'refusal') =>
        split(text, cuts).map((part) => ({ type, text: part }));
      const call = (index: number): GenerationEvent => ({ type: 'toolCall', index, id: `call_${index}`, name: 'tool' });
      const parts = split(json, cuts);
      const events: GenerationEvent[] = [
        ...toTexts('reasoning'),
        { type: 'reasoningEnd' },
        ...toTexts('text'),
        ...toTexts('refusal'),
        call(0),
        call(1),
        ...parts.flatMap((fragment) => [0, 1].map((index) => ({ type: 'toolArguments' as const, index, fragment }))),
        FINISH,
      ];
      const restored = await restoreAll(events, map);
      const expected = restoreSlowly(text, map);
      for (const type of ['reasoning', 'text', 'refusal']) expect(joinTexts(restored, type)).toBe(expected);
      for (const index of [0, 1]) {
        const joined = joinArguments(restored, index);
        expect(joined).toBe(restoreSlowly(json, map, escapeJson));
        expect(() => JSON.parse(joined)).not.toThrow();
      }
      expect(restored.at(-1)).toEqual(FINISH);
    }),
    { numRuns: 500 },
  );
});

it.each<GenerationEvent>([
  { type: 'toolCall', index: 1, id: 'call_1', name: 'tool' },
  { type: 'text', text: 'see' },
  { type: 'reasoning', text: 'see' },
  { type: 'reasoningEnd' },
])(
  'the arguments of a tool call are restored at any split, although another event is in between: $type',
  async (event) => {
    const placeholders = new Placeholders(KEY, new Set());
    const json = JSON.stringify({ to: placeholders.get('EMAIL', 'a@example.com') });
    for (let at = 0; at <= json.length; at++) {
      const restored = await restoreAll(
        [
          { type: 'toolCall', index: 0, id: 'call_0', name: 'tool' },
          { type: 'toolArguments', index: 0, fragment: json.slice(0, at) },
          event,
          { type: 'toolArguments', index: 0, fragment: json.slice(at) },
          FINISH,
        ],
        placeholders.values,
      );
      expect(joinArguments(restored, 0)).toBe('{"to":"a@example.com"}');
      expect(restored).toContainEqual(event);
      expect(restored.at(-1)).toEqual(FINISH);
    }
  },
);

it('arguments that are cut within a placeholder arrive before the end', async () => {
  const placeholders = new Placeholders(KEY, new Set());
  const fragment = placeholders.get('EMAIL', 'a@example.com').slice(0, 9);
  const restored = await restoreAll(
    [{ type: 'toolCall', index: 0, id: 'call_0', name: 'tool' }, { type: 'toolArguments', index: 0, fragment }, FINISH],
    placeholders.values,
  );
  expect(restored.slice(1)).toEqual([{ type: 'toolArguments', index: 0, fragment }, FINISH]);
});

it.each(['json', 'jsonSchema'] as const)(
  'an answer in the format %s is valid JSON at any split, and its refusal and reasoning are plain text',
  async (format) => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ map, text, cuts }) => {
        const json = JSON.stringify({ a: text, b: [text] });
        const toTexts = (type: 'text' | 'reasoning' | 'refusal', whole: string) =>
          split(whole, cuts).map((part) => ({ type, text: part }));
        const events = [...toTexts('reasoning', text), ...toTexts('text', json), ...toTexts('refusal', text), FINISH];
        const restored = await restoreAll(events, map, format);
        const joined = joinTexts(restored, 'text');
        expect(joined).toBe(restoreSlowly(json, map, escapeJson));
        expect(() => JSON.parse(joined)).not.toThrow();
        for (const type of ['reasoning', 'refusal']) expect(joinTexts(restored, type)).toBe(restoreSlowly(text, map));
      }),
      { numRuns: 500 },
    );
  },
);

it('text that is held back is sent before the event that ends it', async () => {
  const placeholders = new Placeholders(KEY, new Set());
  placeholders.get('EMAIL', 'a@example.com');
  const restored = await restoreAll(
    [
      { type: 'text', text: 'see EMA' },
      { type: 'toolCall', index: 0, id: 'call_1', name: 'tool' },
    ],
    placeholders.values,
  );
  expect(restored.map((event) => (event.type === 'text' ? event.text : event.type))).toEqual([
    'see ',
    'EMA',
    'toolCall',
  ]);
});

it('names of tools, details of reasoning and the stop sequence are restored, and probabilities are left out', async () => {
  const placeholders = new Placeholders(KEY, new Set());
  const placeholder = placeholders.get('PHONE', '13812345678');
  const logprobs = [{ token: placeholder, logprob: -1, bytes: null, alternatives: [] }];
  const restored = await restoreAll(
    [
      { type: 'text', text: placeholder, logprobs },
      { type: 'reasoningEnd', details: [{ text: `about ${placeholder}` }] },
      { type: 'toolCall', index: 0, id: 'call_1', name: `call_${placeholder}` },
      { type: 'finish', reason: 'stop', usage: undefined, stopSequence: placeholder },
    ],
    placeholders.values,
  );
  expect(restored).toEqual([
    { type: 'text', text: '13812345678' },
    { type: 'reasoningEnd', details: [{ text: 'about 13812345678' }] },
    { type: 'toolCall', index: 0, id: 'call_1', name: 'call_13812345678' },
    { type: 'finish', reason: 'stop', usage: undefined, stopSequence: '13812345678' },
  ]);
});

it('a native event ends the answer with an error, because it can not be restored', async () => {
  await expect(restoreAll([{ type: 'native', event: {} }], new Map([['IP-aaaaaaaa', '1']]))).rejects.toMatchObject({
    code: 'internal',
  });
});

it('a value never gets a placeholder that the text of the request already has', () => {
  const first = new Placeholders(KEY, new Set()).get('EMAIL', 'a@example.com');
  const second = new Placeholders(KEY, new Set(listHashes(first))).get('EMAIL', 'a@example.com');
  expect(second).toMatch(/^EMAIL-[a-z2-7]{8}$/);
  expect(second).not.toBe(first);
});
