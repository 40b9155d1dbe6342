import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ respond: converse });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

type Messages = OpenAI.Chat.ChatCompletionMessageParam[];

const call = { id: 'call_1', type: 'function' as const, function: { name: 'weather', arguments: '{}' } };
const tools = [
  { type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: {} } } },
];

/** Histories as clients send them, by what is special in them. */
const HISTORIES: Readonly<Record<string, Messages>> = {
  'consecutive system and developer messages': [
    { role: 'system', content: 'Be brief.' },
    { role: 'developer', content: 'Be kind.' },
    { role: 'system', content: [{ type: 'text', text: 'Be formal.' }] },
    { role: 'user', content: 'Hello' },
  ],
  'system and developer messages in mid-conversation': [
    { role: 'user', content: 'Hello' },
    { role: 'system', content: 'Be brief.' },
    { role: 'assistant', content: 'Hi' },
    { role: 'developer', content: 'Be kind.' },
    { role: 'user', content: 'Hello' },
  ],
  'a system message between a call and its next turn': [
    { role: 'user', content: 'Weather?' },
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'tool', tool_call_id: 'call_1', content: 'Sunny' },
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hello' },
  ],
  'several messages of one role': [
    { role: 'user', content: 'Hello' },
    { role: 'user', content: 'Anyone?' },
    { role: 'assistant', content: 'Hi' },
    { role: 'assistant', content: 'I am here' },
    { role: 'user', content: 'Hello' },
  ],
  'an assistant message at the beginning': [
    { role: 'assistant', content: 'How can I help?' },
    { role: 'user', content: 'Hello' },
  ],
  'the beginning of the answer (prefill)': [
    { role: 'user', content: 'Hello' },
    { role: 'assistant', content: 'You said: ' },
  ],
  'fields that clients carry back': [
    { role: 'user', content: [{ type: 'text', text: 'Weather?', cache_control: { type: 'ephemeral' } } as never] },
    {
      role: 'assistant',
      content: null,
      refusal: null,
      audio: null,
      function_call: null,
      annotations: [],
      tool_calls: [{ ...call, index: 0, extra_content: null }],
    } as never,
    { role: 'tool', tool_call_id: 'call_1', content: 'Sunny', name: 'weather', cache_control: null } as never,
    { role: 'user', content: 'Hello', name: 'ann', id: 'm' } as never,
  ],
};

describe.each(['compatible', 'bedrock', 'lean'])('the model %s', (model) => {
  it.each(Object.entries(HISTORIES))('answers a history with %s', async (_, messages) => {
    const hasCalls = messages.some((message) => message.role === 'tool');
    const { choices } = await client.chat.completions.create({ model, messages, ...(hasCalls && { tools }) });
    expect(choices[0]?.message.role).toBe('assistant');
    expect(choices[0]?.finish_reason).toMatch(/^(stop|tool_calls)$/);
  });

  it('answers items with the ids and statuses of another service', async () => {
    const input = [
      {
        type: 'message',
        id: 'msg_68af',
        role: 'user',
        status: 'completed',
        content: [{ type: 'input_text', text: 'Hi' }],
      },
      {
        type: 'reasoning',
        id: 'rs_68af',
        summary: [{ type: 'summary_text', text: 'Hm.' }],
        status: null,
        encrypted_content: 'gAAAA',
      },
      {
        type: 'message',
        id: 'msg_69',
        role: 'assistant',
        status: 'incomplete',
        phase: 'final_answer',
        content: [{ type: 'output_text', text: 'Let me', annotations: [], logprobs: [] }],
      },
      { type: 'function_call', id: 'fc_1', call_id: 'call_1', name: 'weather', arguments: '{}', status: 'in_progress' },
      { type: 'function_call_output', id: 'fco_1', call_id: 'call_1', output: 'Sunny', status: 'incomplete' },
      { role: 'developer', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
    ] as OpenAI.Responses.ResponseInputItem[];
    for (const store of [true, false]) {
      const response = await client.responses.create({ model, input, store });
      expect(response.status).toBe('completed');
    }
  });
});
