import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { GenerationRequest } from '../../../shared/inference/generation.ts';
import { finishEvent, textEvents } from '../openai/events.ts';
import { type Service, startService } from './service.ts';

const RUNS = 60;
const PNG = 'iVBORw0KGgo=';

let service: Service;
beforeAll(async () => {
  // More than the runs need, as a failure is repeated to find the smallest conversation.
  service = await startService(Array.from({ length: 3_000 }, () => [...textEvents('Yes'), finishEvent()]));
});
afterAll(() => service[Symbol.asyncDispose]());

interface Call {
  readonly name: string;
  readonly input: Readonly<Record<string, string>>;
  readonly result: string;
}

/** What the user says, and what the assistant does then. */
interface Turn {
  readonly text: string;
  readonly images: number;
  readonly answer: string;
  readonly calls: readonly Call[];
}

const words = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).map((text) => `${text}.`);
const call: fc.Arbitrary<Call> = fc.record({
  name: fc.constantFrom('look', 'note'),
  input: fc.dictionary(fc.constantFrom('a', 'b'), words),
  result: words,
});
const turn: fc.Arbitrary<Turn> = fc.record({
  text: words,
  images: fc.nat({ max: 2 }),
  answer: words,
  calls: fc.array(call, { maxLength: 2 }),
});
const conversation = fc.record({
  system: fc.option(words, { nil: undefined }),
  turns: fc.array(turn, { maxLength: 3 }),
  question: words,
  limit: fc.integer({ min: 16, max: 4_000 }),
  temperature: fc.double({ min: 0, max: 1, noNaN: true }),
  choice: fc.constantFrom('auto', 'none', 'required', 'look'),
});
type Conversation = typeof conversation extends fc.Arbitrary<infer T> ? T : never;

const SCHEMA = { type: 'object', properties: { a: { type: 'string' } } };
const TOOLS = [
  { name: 'look', description: 'Looks' },
  { name: 'note', description: 'Notes' },
];
const identify = (turnIndex: number, index: number): string => `call_${turnIndex}_${index}`;
const repeat = <T>(count: number, part: T): T[] => Array.from({ length: count }, () => part);

function toChat({ system, turns, question, limit, temperature, choice }: Conversation): object {
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } };
  const type = 'function';
  return {
    model: 'default',
    messages: [
      ...(system === undefined ? [] : [{ role: 'system', content: system }]),
      ...turns.flatMap(({ text, images, answer, calls }, at) => [
        { role: 'user', content: [{ type: 'text', text }, ...repeat(images, image)] },
        {
          role: 'assistant',
          content: answer,
          ...(calls.length > 0 && {
            tool_calls: calls.map(({ name, input }, index) => ({
              id: identify(at, index),
              type,
              function: { name, arguments: JSON.stringify(input) },
            })),
          }),
        },
        ...calls.map(({ result }, index) => ({ role: 'tool', tool_call_id: identify(at, index), content: result })),
      ]),
      { role: 'user', content: question },
    ],
    tools: TOOLS.map((tool) => ({ type, function: { ...tool, parameters: SCHEMA } })),
    tool_choice: choice === 'look' ? { type, function: { name: 'look' } } : choice,
    max_completion_tokens: limit,
    temperature,
  };
}

function toResponses({ system, turns, question, limit, temperature, choice }: Conversation): object {
  const image = { type: 'input_image', image_url: `data:image/png;base64,${PNG}` };
  return {
    model: 'default',
    store: false,
    ...(system !== undefined && { instructions: system }),
    input: [
      ...turns.flatMap(({ text, images, answer, calls }, at) => [
        { role: 'user', content: [{ type: 'input_text', text }, ...repeat(images, image)] },
        { role: 'assistant', content: answer },
        ...calls.map(({ name, input }, index) => ({
          type: 'function_call',
          call_id: identify(at, index),
          name,
          arguments: JSON.stringify(input),
        })),
        ...calls.map(({ result: output }, index) => ({
          type: 'function_call_output',
          call_id: identify(at, index),
          output,
        })),
      ]),
      { role: 'user', content: question },
    ],
    tools: TOOLS.map((tool) => ({ type: 'function', ...tool, parameters: SCHEMA, strict: false })),
    tool_choice: choice === 'look' ? { type: 'function', name: 'look' } : choice,
    max_output_tokens: limit,
    temperature,
  };
}

function toMessages({ system, turns, question, limit, temperature, choice }: Conversation): object {
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } };
  const choices = { auto: { type: 'auto' }, none: { type: 'none' }, required: { type: 'any' } };
  return {
    model: 'default',
    ...(system !== undefined && { system }),
    messages: [
      ...turns.flatMap(({ text, images, answer, calls }, at) => [
        { role: 'user', content: [{ type: 'text', text }, ...repeat(images, image)] },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: answer },
            ...calls.map(({ name, input }, index) => ({ type: 'tool_use', id: identify(at, index), name, input })),
          ],
        },
        ...(calls.length === 0
          ? []
          : [
              {
                role: 'user',
                content: calls.map(({ result: content }, index) => ({
                  type: 'tool_result',
                  tool_use_id: identify(at, index),
                  content,
                })),
              },
            ]),
      ]),
      { role: 'user', content: question },
    ],
    tools: TOOLS.map((tool) => ({ ...tool, input_schema: SCHEMA })),
    tool_choice: choice === 'look' ? { type: 'tool', name: 'look' } : Reflect.get(choices, choice),
    max_tokens: limit,
    temperature,
  };
}

/** Sends a body and returns the request that reaches the model, without what says through which endpoint it came. */
async function capture(path: string, body: object): Promise<Partial<GenerationRequest>> {
  const response = await fetch(`${service.url}/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.status, await response.text()).toBe(200);
  const request = service.generationRequests.at(-1) ?? expect.unreachable();
  const { original: _, parameterNames: __, reasoningSummary: ___, omitsContinuations: ____, ...rest } = request;
  // The paths of images name the endpoint's own parameters.
  return JSON.parse(JSON.stringify(rest, (key, value) => (key === 'param' ? undefined : value)));
}

it('the same conversation reaches the model as the same request through chat completions, responses and messages', async () => {
  await fc.assert(
    fc.asyncProperty(conversation, async (value) => {
      const chat = await capture('chat/completions', toChat(value));
      expect(await capture('responses', toResponses(value))).toEqual(chat);
      expect(await capture('messages', toMessages(value))).toEqual(chat);
      expect(chat.messages).toHaveLength(
        (value.system === undefined ? 0 : 1) + value.turns.reduce((sum, { calls }) => sum + 2 + calls.length, 0) + 1,
      );
    }),
    { numRuns: RUNS },
  );
});
