import { describe, expect, it } from 'vitest';
import {
  parseResponsesBody,
  requireResolvedInput,
  toGenerationRequest,
} from '../../../../shared/openai/responses/request.ts';
import { createTestRegistry, TENANT } from '../../api/service.ts';

const FUNCTION = { type: 'function', name: 'weather', parameters: { type: 'object' } };
const SCHEMA = { type: 'object', properties: { query: { type: 'string' } } };
const CRM = {
  type: 'namespace',
  name: 'crm',
  description: 'Customers.',
  tools: [
    { type: 'function', name: 'find', description: 'Finds one.', parameters: SCHEMA },
    { type: 'custom', name: 'note', format: { type: 'text' } },
  ],
};

function parse(changes: object, alias: Record<string, unknown> = {}) {
  const registry = createTestRegistry(alias);
  const parsed = parseResponsesBody({ model: 'default', input: 'Hello', ...changes }, { registry });
  const input = requireResolvedInput(parsed.body.input);
  return { ignored: parsed.ignored, generation: toGenerationRequest(parsed, { registry, tenant: TENANT }, [], input) };
}

const names = (changes: object) => parse(changes).generation.tools.map(({ name }) => name);

describe('tools of a response request', () => {
  it('tools of a namespace get names that have both, and the first one describes the namespace', () => {
    expect(parse({ tools: [FUNCTION, CRM] }).generation.tools).toMatchObject([
      { name: 'weather' },
      {
        name: 'crm__find',
        description: "About all tools of 'crm': Customers.\n\nFinds one.",
        parameters: SCHEMA,
        api: { name: 'find', namespace: 'crm' },
      },
      { name: 'crm__note', custom: {}, api: { name: 'note', namespace: 'crm' } },
    ]);
  });

  it('names of namespaces and tools become valid, different names of at most 64 characters', () => {
    const long = 'n'.repeat(64);
    const tools = ['mcp__files__', 'a.b', 'a:b', long].map((name) => ({ ...CRM, name }));
    const flat = names({ tools });
    expect(flat.slice(0, 2)).toEqual(['mcp__files__find', 'mcp__files__note']);
    expect(new Set(flat).size).toBe(8);
    for (const name of flat) expect(name).toMatch(/^[\w-]{1,64}$/);
  });

  it('two tools with the same name are rejected, also with the name of a namespace', () => {
    const twice = (tools: object[], param: string) =>
      expect(() => parse({ tools })).toThrow(expect.objectContaining({ code: 'invalid_value', param }));
    twice([FUNCTION, { type: 'custom', name: 'weather' }], 'tools[1]');
    twice([{ ...FUNCTION, name: 'crm__note' }, CRM], 'tools[1].tools[1]');
  });

  it('schemas of namespaces and of tools in items are checked', () => {
    let deep: object = {};
    for (let level = 0; level < 70; level += 1) deep = { properties: { a: deep } };
    const tool = { ...FUNCTION, name: 'deep', parameters: deep };
    const item = { type: 'additional_tools', role: 'developer', tools: [tool] };
    const refused = (changes: object, param: string) =>
      expect(() => parse(changes)).toThrow(expect.objectContaining({ code: 'invalid_function_parameters', param }));
    refused({ tools: [{ ...CRM, tools: [tool] }] }, 'tools[0].tools[0].parameters');
    refused({ input: [{ role: 'user', content: 'Hi' }, item] }, 'input[1].tools[0].parameters');
  });

  it('items of additional tools add tools, and replace those of the same name', () => {
    const { tools, messages } = parse({
      tools: [FUNCTION],
      input: [
        { role: 'user', content: 'Hi' },
        { type: 'additional_tools', role: 'developer', tools: [CRM, { ...FUNCTION, description: 'Newer.' }] },
      ],
    }).generation;
    expect(tools.map(({ name, description }) => [name, description])).toEqual([
      ['weather', 'Newer.'],
      ['crm__find', expect.stringContaining('Finds one.')],
      ['crm__note', undefined],
    ]);
    expect(messages).toHaveLength(1);
  });

  it('history has the names that the model knows', () => {
    const { messages } = parse({
      input: [
        { type: 'function_call', call_id: 'c1', namespace: 'crm', name: 'find', arguments: '{}', status: null },
        { type: 'custom_tool_call', call_id: 'c2', namespace: 'crm', name: 'note', input: 'a "b"\n', id: 'ctc_1' },
        { type: 'custom_tool_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'noted' }] },
        { type: 'function_call_output', call_id: 'c1', output: 'found', name: null, namespace: null },
      ],
    }).generation;
    expect(messages).toEqual([
      {
        role: 'assistant',
        content: [
          { type: 'toolCall', id: 'c1', name: 'crm__find', arguments: '{}' },
          { type: 'toolCall', id: 'c2', name: 'crm__note', arguments: '{"input":"a \\"b\\"\\n"}', isCustom: true },
        ],
      },
      { role: 'tool', toolCallId: 'c1', content: [{ type: 'text', text: 'found' }] },
      { role: 'tool', toolCallId: 'c2', content: [{ type: 'text', text: 'noted' }] },
    ]);
  });

  it('names and arguments that a model made up are accepted in history', () => {
    const call = { type: 'function_call', call_id: 'functions.get:0', name: 'functions.get', arguments: '{"a' };
    const input = [call, { type: 'function_call_output', call_id: call.call_id, output: 'no such tool' }];
    expect(parse({ input }).generation.messages[0]?.content[0]).toMatchObject({
      name: 'functions.get',
      arguments: '{"a',
    });
  });
});

describe('a search for tools', () => {
  const deferred = { ...FUNCTION, defer_loading: true };
  const search = { type: 'tool_search', execution: 'client', description: 'Finds tools.', parameters: SCHEMA };

  it('a search by the service has nothing to find, because the model gets all tools', () => {
    const { generation, ignored } = parse({ tools: [deferred, { type: 'tool_search' }] });
    expect(generation.tools.map(({ name }) => name)).toEqual(['weather']);
    expect(ignored).toEqual(['tools[tool_search]']);
  });

  it('a search by the caller is a function, and the model gets a deferred tool once it is found', () => {
    const tools = [deferred, search];
    const call = { type: 'tool_search_call', call_id: 'c1', execution: 'client', arguments: { query: 'rain' } };
    const output = { type: 'tool_search_output', call_id: 'c1', status: 'completed', tools: [deferred, CRM] };
    expect(parse({ tools }).generation.tools).toMatchObject([
      { name: 'tool_search', description: 'Finds tools.', parameters: SCHEMA, api: { isToolSearch: true } },
    ]);
    const { generation } = parse({ tools, input: [{ role: 'user', content: 'Rain?' }, call, output] });
    expect(generation.tools.map(({ name }) => name)).toEqual(['tool_search', 'weather', 'crm__find', 'crm__note']);
    expect(generation.messages.slice(1)).toEqual([
      {
        role: 'assistant',
        content: [{ type: 'toolCall', id: 'c1', name: 'tool_search', arguments: '{"query":"rain"}' }],
      },
      {
        role: 'tool',
        toolCallId: 'c1',
        content: [{ type: 'text', text: 'These tools can be called now: weather, crm__find, crm__note' }],
      },
    ]);
  });

  it('the search of another service, whose items have no call id, only adds its tools', () => {
    const items = [
      { type: 'tool_search_call', call_id: null, execution: 'server', arguments: {}, status: 'completed', id: 'tsc_1' },
      { type: 'tool_search_output', call_id: null, execution: 'server', status: 'completed', tools: [deferred] },
    ];
    const { generation } = parse({ tools: [deferred, search], input: [{ role: 'user', content: 'Hi' }, ...items] });
    expect(generation.tools.map(({ name }) => name)).toEqual(['tool_search', 'weather']);
    expect(generation.messages).toHaveLength(1);
  });
});

describe('hosted tools', () => {
  const tools = [{ type: 'web_search', external_web_access: false }, FUNCTION, { type: 'image_generation' }];
  const choice = (tool_choice: unknown, alias: Record<string, unknown> = {}, list: object[] = tools) =>
    parse({ tools: list, tool_choice }, alias).generation;
  const refused = { code: 'invalid_value', param: 'tool_choice', message: expect.stringMatching(/has no tool 'web_/) };

  it('hosted tools are dropped by default and named', () => {
    const { generation, ignored } = parse({ tools });
    expect(generation.tools.map(({ name }) => name)).toEqual(['weather']);
    expect(generation).not.toHaveProperty('hostedTools');
    expect(ignored).toEqual(['tools[web_search]', 'tools[image_generation]']);
  });

  it('an alias can refuse hosted tools, also in items', () => {
    const alias = { hostedTools: 'refuse' };
    const item = { type: 'additional_tools', role: 'developer', tools: [tools[0]] };
    expect(() => parse({ tools: [FUNCTION, tools[0]] }, alias)).toThrow(
      expect.objectContaining({ code: 'unsupported_value', param: 'tools[1].type' }),
    );
    expect(() => parse({ input: [{ role: 'user', content: 'Hi' }, item] }, alias)).toThrow(
      expect.objectContaining({ code: 'unsupported_value', param: 'input[1].tools[0].type' }),
    );
  });

  it('an alias can pass hosted tools, as they are', () => {
    const alias = { hostedTools: 'pass' };
    const { generation, ignored } = parse({ tools }, alias);
    expect(generation.hostedTools).toEqual({ tools: [tools[0], tools[2]] });
    expect(ignored).toEqual([]);
    expect(choice({ type: 'web_search_preview' }, alias)).toMatchObject({
      toolChoice: 'auto',
      hostedTools: { choice: { type: 'web_search_preview' } },
    });
    expect(choice('required', alias, [{ type: 'web_search' }])).toMatchObject({ tools: [], toolChoice: 'required' });
    expect(choice('none', alias)).not.toHaveProperty('hostedTools');
    const allowed = { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'image_generation' }] };
    expect(choice(allowed, alias)).toMatchObject({ tools: [], hostedTools: { tools: [{ type: 'image_generation' }] } });
  });

  it('a choice that requires a dropped tool is rejected', () => {
    const only = [{ type: 'web_search_preview' }];
    expect(() => choice({ type: 'web_search_preview' })).toThrow(expect.objectContaining(refused));
    expect(() => choice('required', {}, only)).toThrow(expect.objectContaining(refused));
    const allowed = { type: 'allowed_tools', mode: 'required', tools: [{ type: 'web_search_preview' }] };
    expect(() => choice(allowed)).toThrow(expect.objectContaining(refused));
  });

  it('a choice that only allows a dropped tool allows no tool', () => {
    const allowed = (...list: object[]) => ({ type: 'allowed_tools', mode: 'auto', tools: list });
    expect(choice(allowed({ type: 'web_search' })).toolChoice).toBe('none');
    expect(choice(allowed({ type: 'web_search' }, { type: 'function', name: 'weather' }))).toMatchObject({
      tools: [{ name: 'weather' }],
      toolChoice: 'auto',
    });
    expect(choice('auto', {}, [{ type: 'web_search' }])).toMatchObject({ tools: [], toolChoice: 'auto' });
  });

  it('items of hosted tools in the input are left out and named', () => {
    const item = { type: 'web_search_call', id: 'ws_1', status: 'completed', action: { type: 'search', query: 'x' } };
    const { generation, ignored } = parse({ input: [{ role: 'user', content: 'Hi' }, item] });
    expect(generation.messages).toHaveLength(1);
    expect(ignored).toEqual(['input[web_search_call]']);
  });
});

describe('the choice of a tool', () => {
  const tools = [FUNCTION, CRM, { type: 'tool_search', execution: 'client' }];
  it.each([
    [{ type: 'function', name: 'find' }, 'crm__find'],
    [{ type: 'function', name: 'find', namespace: 'crm' }, 'crm__find'],
    [{ type: 'custom', name: 'note' }, 'crm__note'],
    [{ type: 'tool_search' }, 'tool_search'],
    [{ type: 'function', name: 'weather' }, 'weather'],
  ])('%j is found by the caller’s name', (tool_choice, name) => {
    expect(parse({ tools, tool_choice }).generation.toolChoice).toEqual({ name });
  });

  it('a namespace allows its tools', () => {
    const tool_choice = { type: 'allowed_tools', mode: 'required', tools: [{ type: 'namespace', name: 'crm' }] };
    expect(names({ tools, tool_choice })).toEqual(['crm__find', 'crm__note']);
  });

  it('a choice of a missing tool is rejected with the caller’s name', () => {
    expect(() => parse({ tools, tool_choice: { type: 'custom', name: 'nothing' } })).toThrow(
      /no function named 'nothing'/,
    );
  });
});
