import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { type Service, startService } from './service.ts';

/** A model that summarizes: it notes the words that follow `fact:` in the conversation. */
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: ({ text, body }) => {
      if (!text.includes('<conversation>')) return replyAsChatModel(body);
      if (text.includes('write nothing')) return reply('');
      return reply([...text.matchAll(/fact: (\w+)/g)].map(([, fact]) => `Noted ${fact}.`).join(' ') || 'No facts.');
    },
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const reply = (content: string) => ({
  body: {
    choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 90, completion_tokens: 10, total_tokens: 100 },
  },
});
const model = 'compatible';
const getError = (call: Promise<unknown>) => call.catch((error: unknown) => error);
const conversation: OpenAI.Responses.ResponseInputItem[] = [
  { role: 'developer', content: 'Answer in French.' },
  { role: 'user', content: 'Find the fact.' },
  { type: 'function_call', call_id: 'call_1', name: 'weather', arguments: '{"city":"Rome"}' },
  { type: 'function_call_output', call_id: 'call_1', output: 'fact: heron' },
  { role: 'assistant', content: 'It is known now: fact: otter' },
  { type: 'function_call', call_id: 'call_2', name: 'weather', arguments: '{"city":"Oslo"}' },
];

/** Returns the last request to the model, as text. */
const getLastRequest = () => JSON.stringify(service.upstream.requests.at(-1)?.body);

describe('a compacted conversation', () => {
  it('compaction returns the user messages and one opaque item, and counts the usage of the summary', async () => {
    const compacted = await client.responses.compact({ model, input: conversation, instructions: 'Be brief.' });
    expect(compacted).toMatchObject({
      id: expect.stringMatching(/^resp_/),
      object: 'response.compaction',
      created_at: expect.any(Number),
      output: [
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Find the fact.' }] },
        { type: 'compaction', id: expect.stringMatching(/^cmp_/), encrypted_content: expect.any(String) },
      ],
      usage: { input_tokens: 90, output_tokens: 10, total_tokens: 100 },
    });
    const shown = Buffer.from(JSON.stringify(compacted.output[1]).split('.')[1] ?? '', 'base64url').toString('latin1');
    expect(shown).not.toContain('heron');
  });

  it.each([false, true])(
    'instructions, facts and open calls reach the model after two compactions (stored: %s)',
    async (store) => {
      const once = await client.responses.compact({ model, input: conversation });
      const input = once.output as OpenAI.Responses.ResponseInputItem[];
      const twice = await client.responses.compact({
        model,
        input: [...input, { role: 'user', content: 'fact: lynx' }],
      });
      expect(twice.output.map(({ type }) => type)).toEqual(['message', 'message', 'compaction']);
      const next: OpenAI.Responses.ResponseInputItem[] = [
        ...(twice.output as OpenAI.Responses.ResponseInputItem[]),
        { type: 'function_call_output', call_id: 'call_2', output: 'Cold' },
        { role: 'user', content: 'Which animals?' },
      ];
      const response = await client.responses.create({ model, input: next, store });
      expect(response.status).toBe('completed');
      for (const part of ['Answer in French.', 'fact: lynx', 'call_2', 'Oslo', 'Cold']) {
        expect(getLastRequest()).toContain(part);
      }
      expect(getLastRequest()).not.toContain('Rome');
      if (!store) return;
      const chained = await client.responses.create({ model, input: 'More', previous_response_id: response.id });
      expect(chained.status).toBe('completed');
      expect(getLastRequest()).toContain('Answer in French.');
    },
  );

  it('a fact that only the output of a tool has reaches the model through the notes', async () => {
    const { output } = await client.responses.compact({ model, input: conversation.slice(0, 5) });
    const input = [...output, { role: 'user', content: 'Which?' }] as OpenAI.Responses.ResponseInputItem[];
    await client.responses.create({ model, input, store: false });
    expect(getLastRequest()).toContain('Noted heron.');
    expect(getLastRequest()).toContain('Noted otter.');
    expect(await client.responses.inputTokens.count({ model, input })).toMatchObject({
      input_tokens: expect.any(Number),
    });
  });

  it('the chain of a previous response is compacted', async () => {
    const first = await client.responses.create({ model, input: 'fact: heron' });
    const { output } = await client.responses.compact({ model, previous_response_id: first.id });
    expect(output).toMatchObject([{ role: 'user' }, { type: 'compaction' }]);
  });

  it('a compaction item that was changed, forged or cut is refused', async () => {
    const { output } = await client.responses.compact({ model, input: conversation });
    const item = output.at(-1) as OpenAI.Responses.ResponseCompactionItem;
    const { encrypted_content: content } = item;
    for (const changed of [
      '',
      'x',
      'lambentc1.',
      `${content.slice(0, 90)}${content[90] === 'x' ? 'y' : 'x'}${content.slice(91)}`,
      content.slice(0, -5),
    ]) {
      const input = [
        { ...item, encrypted_content: changed },
        { role: 'user' as const, content: 'Hi' },
      ];
      expect(await getError(client.responses.create({ model, input }))).toMatchObject({ status: 400, param: 'input' });
    }
  });

  it('a request that cannot be compacted is refused', async () => {
    expect(await getError(client.responses.compact({ model }))).toMatchObject({
      status: 400,
      code: 'missing_required_parameter',
      param: 'input',
    });
    const silent = client.responses.compact({ model, input: 'write nothing' });
    expect(await getError(silent)).toMatchObject({ status: 502, code: 'upstream_malformed' });
    const missing = client.responses.compact({ model, previous_response_id: 'resp_missing' });
    expect(await getError(missing)).toMatchObject({ status: 400, code: 'previous_response_not_found' });
  });
});
