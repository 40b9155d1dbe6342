import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GenerationRequest, Message } from '../../../shared/inference/generation.ts';
import { fitToContext } from '../../../shared/sessions/fit-to-context.ts';

const text = (words: string) => [{ type: 'text' as const, text: words }];
const user = (words: string): Message => ({ role: 'user', content: text(words) });
const system = (words: string): Message => ({ role: 'system', content: text(words) });
const assistant = (words: string): Message => ({ role: 'assistant', content: text(words) });
const call = (id: string): Message => ({
  role: 'assistant',
  content: [{ type: 'toolCall', id, name: 'look', arguments: '{}' }],
});
const output = (toolCallId: string, words: string): Message => ({ role: 'tool', toolCallId, content: text(words) });

function makeRequest(messages: readonly Message[]): GenerationRequest {
  return {
    tenant: 'acme',
    model: 'default',
    messages,
    tools: [],
    toolChoice: 'auto',
    parallelToolCalls: true,
    format: { type: 'text' },
    stop: [],
    reasoningSummary: false,
    conversationKey: '',
    hints: {},
    unknown: {},
    parameterNames: { messages: 'input' },
  };
}

const long = 'word '.repeat(80);
const options = { contextTokens: 500, answerTokens: 100, truncation: 'auto' } as const;

describe('a request that exceeds its model’s context', () => {
  it('a request that is too long loses whole turns from the middle, oldest first', () => {
    const messages = [
      system('Rules'),
      user(`First ${long}`),
      assistant('1'),
      user(`Second ${long}`),
      call('c1'),
      output('c1', long),
      assistant('2'),
      user(`Third ${long}`),
      assistant('3'),
      user('Last'),
    ];
    const { request: fitted, droppedItems } = fitToContext(makeRequest(messages), options);
    expect(fitted.messages).toEqual([...messages.slice(0, 3), ...messages.slice(7)]);
    expect(droppedItems).toBe(4);
  });

  it('counts calls and reasoning as items of their own, and keeps all else of the request', () => {
    const answers: Message[] = [
      { role: 'assistant', content: [{ type: 'reasoning', text: long }, ...text('1'), ...text('2')] },
      {
        role: 'assistant',
        content: [
          { type: 'reasoning', text: 'so' },
          { type: 'toolCall', id: 'c1', name: 'look', arguments: '{}' },
          { type: 'toolCall', id: 'c2', name: 'look', arguments: '{}' },
        ],
      },
    ];
    const messages = [user(`First ${long}`), assistant('0'), user(`Second ${long}`), ...answers, user(`Last ${long}`)];
    const request = { ...makeRequest(messages), model: 'special' };
    // A user message, two items of the first answer and three of the second.
    expect(fitToContext(request, options)).toEqual({
      request: { ...request, messages: [...messages.slice(0, 2), ...messages.slice(5)] },
      droppedItems: 6,
    });
  });

  it('with truncation disabled, a request that is too long is refused, naming the caller’s parameter', () => {
    const messages = [user(long), assistant(long), user(long), assistant(long), user(long)];
    expect(() => fitToContext(makeRequest(messages), { ...options, truncation: 'disabled' })).toThrow(
      expect.objectContaining({ code: 'context_length_exceeded', param: 'input' }),
    );
  });

  it('a request is refused if the parts that may not be dropped are too long', () => {
    expect(() => fitToContext(makeRequest([user(long.repeat(10))]), options)).toThrow(
      expect.objectContaining({ code: 'context_length_exceeded' }),
    );
  });

  it('a request that fits is not changed', () => {
    const small = makeRequest([system('Rules'), user('Hello')]);
    expect(fitToContext(small, { ...options, truncation: 'disabled' })).toEqual({ request: small, droppedItems: 0 });
  });
});

describe('any request that is shortened', () => {
  const turn = fc.record({
    size: fc.integer({ min: 0, max: 60 }),
    calls: fc.integer({ min: 0, max: 3 }),
    instruction: fc.boolean(),
  });

  it('a shortened request keeps calls with outputs, instructions, the first and the latest turn, and the order', () => {
    fc.assert(
      fc.property(
        fc.array(turn, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 150, max: 900 }),
        (turns, contextTokens) => {
          const messages = turns.flatMap(({ size, calls, instruction }, nth) => [
            ...(instruction ? [system(`Rule ${nth}`)] : []),
            user(`Turn ${nth} ${'word '.repeat(size)}`),
            ...Array.from({ length: calls }, (_, index) => [
              call(`${nth}.${index}`),
              output(`${nth}.${index}`, 'out'),
            ]).flat(),
            assistant(`Answer ${nth}`),
          ]);
          let kept: readonly Message[];
          try {
            kept = fitToContext(makeRequest(messages), { ...options, contextTokens }).request.messages;
          } catch (error) {
            expect(error).toMatchObject({ code: 'context_length_exceeded' });
            return;
          }
          expect(messages.filter((message) => kept.includes(message))).toEqual(kept);
          const first = messages.findIndex(({ role }) => role === 'user');
          expect(kept).toContain(messages[first]);
          expect(kept).toContain(messages.at(-1));
          for (const message of messages) if (message.role === 'system') expect(kept).toContain(message);
          const called = kept.flatMap((message) =>
            message.role === 'assistant'
              ? message.content.flatMap((part) => (part.type === 'toolCall' ? [part.id] : []))
              : [],
          );
          const answered = kept.flatMap((message) => (message.role === 'tool' ? [message.toolCallId] : []));
          expect(answered).toEqual(called);
        },
      ),
    );
  });
});
