import { zodTextFormat } from 'openai/helpers/zod';
import type { Response, ResponseInputItem, ResponseStreamEvent, Tool } from 'openai/resources/responses/responses';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { finishEvent, textEvents, tokenLogprob, toolCallEvents } from '../openai/events.ts';
import { type Script, startService } from './service.ts';

const QUESTION = { model: 'default', input: 'Say it' };
const CUT = new UpstreamError('upstream_cut', 'The connection broke', { recovery: 'fail' });
const REASONING: Script = [
  { type: 'reasoning', text: 'First, ' },
  { type: 'reasoning', text: 'then.' },
  { type: 'reasoningEnd', continuation: { provider: 'bedrock', data: { signature: 'c2ln' } } },
];
const WEATHER = {
  type: 'function' as const,
  name: 'weather',
  description: 'Returns the weather.',
  parameters: { type: 'object', properties: { city: { type: 'string' } } },
  strict: false,
};

/** A tool of each kind that the caller runs, as Codex sends them. */
const TOOLS: Tool[] = [
  {
    type: 'custom',
    name: 'edit',
    description: 'Edits files.',
    format: { type: 'grammar', syntax: 'lark', definition: 'start: "x"' },
  },
  {
    type: 'namespace',
    name: 'crm',
    description: 'Customers.',
    tools: [
      { type: 'function', name: 'find', parameters: { type: 'object' } },
      { type: 'custom', name: 'note' },
    ],
  },
  { type: 'tool_search', execution: 'client' },
  { type: 'web_search' },
];

/** Requests the same response buffered and streamed, and returns both as the official client parses them. */
async function requestBothWays(script: Script, more: object = {}) {
  await using service = await startService([script, script, script]);
  const buffered = await service.client.responses.create({ ...QUESTION, ...more });
  const streamed = await service.client.responses.stream({ ...QUESTION, ...more }).finalResponse();
  const events: ResponseStreamEvent[] = [];
  for await (const event of await service.client.responses.create({ ...QUESTION, ...more, stream: true })) {
    events.push(event);
  }
  return { buffered, streamed, events };
}

/** Removes ids, and fields that the client's parser adds. */
function normalize(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, inner) =>
      ['id', 'parsed', 'parsed_arguments', 'output_parsed'].includes(key) ? undefined : inner,
    ),
  );
}

/** Joins the deltas by item, as a client does. */
function joinDeltas(events: readonly ResponseStreamEvent[]): string[] {
  const items: string[] = [];
  for (const event of events) {
    if (event.type === 'response.output_item.added') items[event.output_index] = '';
    if ('delta' in event && 'output_index' in event) items[event.output_index] += String(event.delta);
  }
  return items;
}

function itemTexts(response: Response): string[] {
  return response.output.map((item) => {
    switch (item.type) {
      case 'message':
        return item.content.map((part) => (part.type === 'refusal' ? part.refusal : part.text)).join('');
      case 'function_call':
        return item.arguments;
      case 'custom_tool_call':
        return item.input;
      case 'tool_search_call':
        return '';
      case 'reasoning':
        return item.summary.map((part) => part.text).join('');
      default:
        throw new Error(`Unexpected item type ${item.type}`);
    }
  });
}

describe('responses with the official client', () => {
  const cases: Record<string, { script: Script; more?: object }> = {
    text: { script: [...textEvents('Hel', 'lo, ', 'world'), finishEvent()] },
    'an empty response': { script: [finishEvent()] },
    'a refusal': {
      script: [{ type: 'refusal', text: "I can't" }, { type: 'refusal', text: ' do that' }, finishEvent()],
    },
    'text and then a refusal': { script: [...textEvents('Well, '), { type: 'refusal', text: 'no' }, finishEvent()] },
    'a summary of reasoning': {
      script: [...REASONING, ...textEvents('So.'), finishEvent()],
      more: { reasoning: { summary: 'auto' } },
    },
    'reasoning without a summary': { script: [...REASONING, ...textEvents('So.'), finishEvent()] },
    'parallel function calls': {
      script: [
        ...textEvents('Let me see.'),
        ...toolCallEvents(0, 'weather', '{"city":', '"Rome"}'),
        ...toolCallEvents(1, 'time', '{', '}'),
        finishEvent('toolCalls'),
      ],
    },
    'interleaved function calls': {
      script: [
        ...toolCallEvents(0, 'weather', '{"a'),
        ...toolCallEvents(1, 'time', '{"c'),
        { type: 'toolArguments', index: 0, fragment: 'b":1}' },
        { type: 'toolArguments', index: 1, fragment: 'd":2}' },
        ...textEvents('Done.'),
        finishEvent('toolCalls'),
      ],
    },
    'calls of a custom tool, of a namespace and of a search for tools': {
      script: [
        ...toolCallEvents(0, 'edit', '{"input":"*** Begin', ' Patch\\n', '+\\ud83d', '\\ude00\\n"}'),
        ...toolCallEvents(1, 'crm__find', '{"query":', '"Ada"}'),
        ...toolCallEvents(2, 'crm__note', '{"input":"paid"}'),
        ...toolCallEvents(3, 'tool_search', '{"query":"mail"}'),
        finishEvent('toolCalls'),
      ],
      more: { tools: TOOLS },
    },
    'a call of a custom tool that reached the output limit': {
      script: [...toolCallEvents(0, 'edit', '{"input":"*** Beg'), finishEvent('length')],
      more: { tools: TOOLS },
    },
    'log probabilities': {
      script: [{ type: 'text', text: 'Hi', logprobs: [tokenLogprob('H'), tokenLogprob('i')] }, finishEvent()],
      more: { include: ['message.output_text.logprobs'], top_logprobs: 1 },
    },
    'text that reached the output limit': { script: [...textEvents('Once upon'), finishEvent('length')] },
    'a function call that reached the output limit': {
      script: [...toolCallEvents(0, 'weather', '{"ci'), finishEvent('length')],
    },
    'text that was filtered': { script: [...textEvents('Well'), finishEvent('contentFilter')] },
    'a character that was split between chunks': { script: [...textEvents('smile \ud83d', '\ude00!'), finishEvent()] },
  };
  for (const [name, { script, more }] of Object.entries(cases)) {
    it(`a streamed response equals a buffered one: ${name}`, async () => {
      const { buffered, streamed, events } = await requestBothWays(script, more);
      expect(normalize(streamed)).toEqual(normalize(buffered));
      expect(joinDeltas(events)).toEqual(itemTexts(buffered));
      expect(events.map((event) => ('sequence_number' in event ? event.sequence_number : -1))).toEqual([
        ...events.keys(),
      ]);
    });
  }

  it('a response repeats the parameters of its request and has its usage', async () => {
    const { buffered } = await requestBothWays([...textEvents('Hello'), finishEvent()], {
      instructions: 'Be brief.',
      temperature: 0.5,
      max_output_tokens: 100,
      metadata: { order: '17' },
      tools: [WEATHER],
      tool_choice: 'auto',
      text: { format: { type: 'json_object' }, verbosity: 'low' },
      reasoning: { effort: 'low' },
      user: 'u1',
    });
    expect(buffered).toMatchObject({
      object: 'response',
      status: 'completed',
      created_at: 1_700_000_000,
      completed_at: 1_700_000_000,
      error: null,
      incomplete_details: null,
      instructions: 'Be brief.',
      temperature: 0.5,
      top_p: null,
      max_output_tokens: 100,
      metadata: { order: '17' },
      tools: [WEATHER],
      tool_choice: 'auto',
      parallel_tool_calls: true,
      text: { format: { type: 'json_object' }, verbosity: 'low' },
      reasoning: { effort: 'low', summary: null },
      truncation: 'disabled',
      store: false,
      background: false,
      previous_response_id: null,
      user: 'u1',
      output_text: 'Hello',
      usage: {
        input_tokens: 11,
        input_tokens_details: { cached_tokens: 3, cache_write_tokens: 4 },
        output_tokens: 7,
        output_tokens_details: { reasoning_tokens: 2 },
        total_tokens: 18,
      },
    });
  });

  it('the calls of each kind of tool have its items, and are accepted back with their outputs', async () => {
    const script = [
      ...toolCallEvents(0, 'edit', '{"input":"a\\nb"}'),
      ...toolCallEvents(1, 'crm__find', '{}'),
      ...toolCallEvents(2, 'crm__note', '{"input":"paid"}'),
      ...toolCallEvents(3, 'tool_search', '{"query":"mail"}'),
      finishEvent('toolCalls'),
    ];
    await using service = await startService([script, [...textEvents('Done'), finishEvent()]]);
    const request = { ...QUESTION, tools: TOOLS };
    const { output, tools } = await service.client.responses.create(request);
    expect(tools).toEqual(TOOLS);
    const done = { status: 'completed' };
    expect(output).toMatchObject([
      { type: 'custom_tool_call', call_id: 'call_0', name: 'edit', input: 'a\nb', ...done },
      { type: 'function_call', call_id: 'call_1', name: 'find', namespace: 'crm', arguments: '{}', ...done },
      { type: 'custom_tool_call', call_id: 'call_2', name: 'note', namespace: 'crm', input: 'paid', ...done },
      { type: 'tool_search_call', call_id: 'call_3', execution: 'client', arguments: { query: 'mail' }, ...done },
    ]);
    expect(output.map(({ id }) => id?.split('_')[0])).toEqual(['ctc', 'fc', 'ctc', 'tsc']);

    const outputs: ResponseInputItem[] = [
      { type: 'custom_tool_call_output', call_id: 'call_2', output: 'noted' },
      { type: 'tool_search_output', call_id: 'call_3', execution: 'client', tools: [], status: 'completed' },
      { type: 'function_call_output', call_id: 'call_1', output: 'found' },
      { type: 'custom_tool_call_output', call_id: 'call_0', output: [{ type: 'input_text', text: 'edited' }] },
    ];
    const input = [{ role: 'user', content: 'Go' }, ...output, ...outputs] as ResponseInputItem[];
    await service.client.responses.create({ ...request, input });
    expect(service.generationRequests[0]?.tools.map(({ name }) => name)).toEqual([
      'edit',
      'crm__find',
      'crm__note',
      'tool_search',
    ]);
    expect(service.generationRequests[1]?.messages).toMatchObject([
      { role: 'user' },
      {
        content: [
          { id: 'call_0', name: 'edit', arguments: '{"input":"a\\nb"}', isCustom: true },
          { id: 'call_1', name: 'crm__find', arguments: '{}' },
          { id: 'call_2', name: 'crm__note', arguments: '{"input":"paid"}' },
          { id: 'call_3', name: 'tool_search', arguments: '{"query":"mail"}' },
        ],
      },
      { toolCallId: 'call_0', content: [{ text: 'edited' }] },
      { toolCallId: 'call_1', content: [{ text: 'found' }] },
      { toolCallId: 'call_2', content: [{ text: 'noted' }] },
      { toolCallId: 'call_3', content: [{ text: 'No tools were found.' }] },
    ]);
  });

  it('the input of a custom tool is streamed', async () => {
    const { events } = await requestBothWays(
      [...toolCallEvents(0, 'edit', '{"input":"ab', 'c"}'), finishEvent('toolCalls')],
      { tools: TOOLS },
    );
    expect(events.slice(2, -1)).toMatchObject([
      { type: 'response.output_item.added', item: { type: 'custom_tool_call', name: 'edit', input: '' } },
      { type: 'response.custom_tool_call_input.delta', delta: 'ab', output_index: 0 },
      { type: 'response.custom_tool_call_input.delta', delta: 'c', output_index: 0 },
      { type: 'response.custom_tool_call_input.done', input: 'abc', output_index: 0 },
      { type: 'response.output_item.done', item: { input: 'abc', status: 'completed' } },
    ]);
  });

  it('a response stream has the typed events of the API reference', async () => {
    const { events } = await requestBothWays(
      [...REASONING, ...textEvents('So.'), ...toolCallEvents(0, 'weather', '{}'), finishEvent('toolCalls')],
      {
        reasoning: { summary: 'auto' },
      },
    );
    expect(events.map(({ type }) => type)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.reasoning_summary_part.added',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.done',
      'response.reasoning_summary_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    const ids = events.flatMap((event) => (event.type === 'response.output_item.added' ? [event.item.id] : []));
    expect(ids.map((id) => id?.split('_')[0])).toEqual(['rs', 'msg', 'fc']);
  });

  it('an incomplete response has the reason', async () => {
    const length = await requestBothWays([...textEvents('Once upon'), finishEvent('length')]);
    expect(length.buffered).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
    });
    expect(length.buffered.output).toMatchObject([{ type: 'message', status: 'incomplete' }]);
    expect(length.events.at(-1)?.type).toBe('response.incomplete');
    const filter = await requestBothWays([...textEvents('Well'), finishEvent('contentFilter')]);
    expect(filter.buffered).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'content_filter' } });
  });

  it('the client parses the structured output of a response', async () => {
    const script: Script = [...textEvents('{"city":"Ro', 'me"}'), finishEvent()];
    await using service = await startService([script, script]);
    const more = { text: { format: zodTextFormat(z.object({ city: z.string() }), 'place') } };
    expect((await service.client.responses.parse({ ...QUESTION, ...more })).output_parsed).toEqual({ city: 'Rome' });
    const streamed = await service.client.responses.stream({ ...QUESTION, ...more }).finalResponse();
    expect(streamed.output_parsed).toEqual({ city: 'Rome' });
    expect(service.generationRequests[0]?.format).toMatchObject({ type: 'jsonSchema', name: 'place', strict: true });
  });

  for (const way of ['create', 'stream'] as const) {
    it(`the output of a response can be sent back with the outputs of its function calls (${way})`, async () => {
      await using service = await startService([
        [
          ...REASONING,
          ...textEvents('Let me see.'),
          ...toolCallEvents(0, 'weather', '{"city":"Rome"}'),
          finishEvent('toolCalls'),
        ],
        [...textEvents('Warm.'), finishEvent()],
      ]);
      const request = { ...QUESTION, tools: [WEATHER], include: ['reasoning.encrypted_content' as const] };
      const first =
        way === 'create'
          ? await service.client.responses.create(request)
          : await service.client.responses.stream(request).finalResponse();
      const input: ResponseInputItem[] = [
        { role: 'user', content: 'Say it' },
        ...(first.output as ResponseInputItem[]),
        { type: 'function_call_output', call_id: 'call_0', output: '21 degrees' },
      ];
      await service.client.responses.create({ ...request, input });
      expect(service.generationRequests[1]?.messages).toEqual([
        { role: 'user', content: [{ type: 'text', text: 'Say it' }] },
        {
          role: 'assistant',
          content: [
            {
              type: 'reasoning',
              text: 'First, then.',
              continuation: { provider: 'bedrock', data: { signature: 'c2ln' } },
            },
            { type: 'text', text: 'Let me see.' },
            { type: 'toolCall', id: 'call_0', name: 'weather', arguments: '{"city":"Rome"}' },
          ],
        },
        { role: 'tool', toolCallId: 'call_0', content: [{ type: 'text', text: '21 degrees' }] },
      ]);
    });
  }

  it('fully redacted reasoning is returned as encrypted content if the request includes it', async () => {
    const redacted: Script = [
      { type: 'reasoningEnd', continuation: { provider: 'bedrock', data: { redacted: 'eA==' } } },
      { type: 'reasoningEnd' },
      ...textEvents('So.'),
      finishEvent(),
    ];
    await using service = await startService([redacted, redacted]);
    const include = ['reasoning.encrypted_content' as const];
    const { output } = await service.client.responses.create({ ...QUESTION, include });
    expect(output).toMatchObject([
      { type: 'reasoning', summary: [], encrypted_content: expect.stringMatching(/^lambent1\./) },
      { type: 'message' },
    ]);
    const withoutInclude = await service.client.responses.create(QUESTION);
    expect(withoutInclude.output[0]).not.toHaveProperty('encrypted_content');
  });

  it('the client throws if the upstream is cut off, and the response never completes', async () => {
    const script: Script = [...textEvents('Half of it'), ...toolCallEvents(0, 'weather', '{"ci'), CUT];
    await using service = await startService([script, script, script, script]);
    await expect(service.client.responses.create(QUESTION)).rejects.toMatchObject({
      status: 502,
      code: 'upstream_cut',
    });

    const events: ResponseStreamEvent[] = [];
    const stream = await service.client.responses.create({ ...QUESTION, stream: true });
    const reading = async () => {
      for await (const event of stream) events.push(event);
    };
    await expect(reading()).rejects.toMatchObject({ code: 'upstream_cut', type: 'server_error' });
    expect(events.some(({ type }) => type === 'response.output_item.done')).toBe(true);
    expect(
      events.filter((event) => event.type === 'response.output_item.done' && event.item.type === 'function_call'),
    ).toEqual([]);
    await expect(service.client.responses.stream(QUESTION).finalResponse()).rejects.toThrow(/stopped before/);

    const raw = await fetch(`${service.url}/v1/responses`, {
      method: 'POST',
      body: JSON.stringify({ ...QUESTION, stream: true }),
    });
    const frames = (await raw.text()).trim().split('\n\n').slice(-2);
    expect(frames[0]).toMatch(/^event: error\ndata: /);
    expect(frames[1]).toMatch(/^event: response\.failed\ndata: /);
    expect(JSON.parse(frames[1]?.split('data: ')[1] ?? '')).toMatchObject({
      response: {
        status: 'failed',
        error: { code: 'server_error' },
        output: [
          { type: 'message', content: [{ text: 'Half of it' }] },
          { type: 'function_call', status: 'incomplete', arguments: '{"ci' },
        ],
      },
    });
  });

  it('an invalid response request is rejected with OpenAI’s error object', async () => {
    await using service = await startService([]);
    await expect(service.client.responses.create({ ...QUESTION, temperature: 3 })).rejects.toMatchObject({
      status: 400,
      param: 'temperature',
      code: 'invalid_value',
    });
    await expect(
      service.client.responses.create({ ...QUESTION, background: true, store: false }),
    ).rejects.toMatchObject({
      status: 400,
      param: 'background',
      code: 'invalid_value',
    });
  });
});
