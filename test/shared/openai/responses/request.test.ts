import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../../shared/core/errors.ts';
import { parseResponsesBody, parseResponsesRequest } from '../../../../shared/openai/responses/request.ts';
import { encodeReasoning } from '../../../../shared/wire/continuation.ts';
import { createTestRegistry, TENANT } from '../../api/service.ts';

const PNG = 'iVBORw0KGgo=';
const IMAGE = { type: 'input_image', image_url: `data:image/png;base64,${PNG}`, detail: 'auto' };
const CALL = { type: 'function_call', call_id: 'c1', name: 'weather', arguments: '{}' };
const OUTPUT = { type: 'function_call_output', call_id: 'c1', output: '21' };
const TOOL = { type: 'function', name: 'weather', parameters: { type: 'object' }, strict: null };

function parse(changes: object) {
  return parseResponsesRequest(
    { model: 'default', input: 'Hello', ...changes },
    { registry: createTestRegistry(), tenant: TENANT },
  );
}

function translateInput(...input: unknown[]) {
  return parse({ input }).generation.messages;
}

function catchError(changes: object): LambentError {
  try {
    parse(changes);
  } catch (thrown) {
    if (thrown instanceof LambentError) return thrown;
    throw thrown;
  }
  throw new Error('Nothing was thrown');
}

describe('parseResponsesRequest', () => {
  describe('for a target that gets the request as it is', () => {
    const target = {
      provider: 'openai-compatible',
      model: 'm',
      baseUrl: 'http://127.0.0.1:1/v1',
      passThrough: ['responses'],
    };
    const parseFor = (alias: object, ...items: object[]) =>
      parseResponsesRequest(
        { model: 'default', input: [{ role: 'user', content: 'Hi' }, ...items] },
        { registry: createTestRegistry({ targets: [target], ...alias }), tenant: TENANT },
      ).generation.original;

    it('files and URLs in an assistant’s message are refused', () => {
      const parseAnswer = (part: object) => parseFor({}, { role: 'assistant', content: [part] });
      for (const part of [
        { type: 'input_image', image_url: 'http://169.254.169.254/' },
        { type: 'input_file', file_url: 'http://169.254.169.254/' },
        { type: 'input_file', file_id: 'file-of-another' },
      ]) {
        const refused = { code: 'unsupported_value', param: 'input[1].content[0].type' };
        expect(() => parseAnswer(part)).toThrow(expect.objectContaining(refused));
      }
      const novel = { type: 'output_novelty', a: 1 };
      expect(parseAnswer(novel)?.body['input']).toContainEqual({ role: 'assistant', content: [novel] });
    });

    it('hosted tools and their items are left out, also in additional_tools, unless the alias passes them', () => {
      const mcp = { type: 'mcp', server_label: 'm', server_url: 'https://evil.test/mcp' };
      const additional = { type: 'additional_tools', role: 'developer', tools: [TOOL, mcp] };
      const output = { type: 'computer_call_output', call_id: 'c', output: { image_url: 'http://169.254.169.254/' } };
      const dropped = parseFor({}, additional, output);
      expect(dropped?.body['input']).toEqual([expect.anything(), { ...additional, tools: [TOOL] }]);
      expect(dropped?.ignored).toEqual(['tools[mcp]', 'input[computer_call_output]']);
      expect(parseFor({ hostedTools: 'pass' }, additional, output)?.body['input']).toContainEqual(additional);
    });

    it('encrypted content of another service is left out', () => {
      const reasoning = { type: 'reasoning', id: 'rs_1', summary: [] };
      const continuation = { provider: 'p', data: { a: 1 } };
      const encode = (encrypted_content: unknown) => ({ ...reasoning, encrypted_content });
      const read = (item: object) => Object(parseFor({}, item)?.body['input'])[1];
      expect(read(encode('gAAA-of-another-account'))).toEqual(reasoning);
      expect(read(encode(encodeReasoning('', continuation)))).toEqual(encode(continuation));
    });
  });

  it.each(['response_format', 'web_search_options', 'functions'])(
    'the field %s, which only chat completions check, is refused even with passUnknown',
    (field) => {
      const context = { registry: createTestRegistry({ passUnknown: true }), tenant: TENANT };
      const refused = expect.objectContaining({ code: 'unknown_parameter', param: field });
      expect(() => parseResponsesRequest({ model: 'default', input: 'Hello', [field]: { a: 1 } }, context)).toThrow(
        refused,
      );
    },
  );

  it.each(['modalities', 'prediction'])('no upstream gets the field %s, which only chat completions check', (field) => {
    const context = { registry: createTestRegistry({ passUnknown: true }), tenant: TENANT };
    const body = { model: 'default', input: 'Hello', [field]: ['audio'] };
    expect(parseResponsesRequest(body, context).generation.unknown).toEqual({});
  });

  it('parameters that change no answer are accepted and named', () => {
    const body = {
      model: 'default',
      input: 'Hello',
      access_programs: { cyber: 'standard' },
      background_options: { completion_window: '2h', continuation_id: 'a' },
      max_tool_calls: 0,
      tools: [{ ...TOOL, async: true }],
    };
    const { ignored } = parseResponsesBody(body, { registry: createTestRegistry() });
    expect([...ignored].sort()).toEqual(['background_options', 'tools[].async']);
  });

  it.each([
    [{ access_programs: { cyber: 'daybreak_red' } }, 'access_programs.cyber'],
    [{ moderation: { model: 'm' } }, 'moderation.model'],
    [{ context_management: [{ type: 'compaction', compact_threshold: 1 }] }, 'context_management[0].compact_threshold'],
  ])('%j, without which the answer would be another one, is refused', (changes, param) => {
    expect(catchError(changes).param).toBe(param);
  });

  it('a response request with only a model and a text is accepted', () => {
    const { generation, streamed, includeContinuations } = parse({ store: false });
    expect({ streamed, includeContinuations }).toEqual({ streamed: false, includeContinuations: false });
    expect(generation).toMatchObject({
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
      reasoningSummary: false,
    });
  });

  it('every supported parameter of a response request is translated', () => {
    const { generation } = parse({
      instructions: 'Be brief.',
      tools: [TOOL],
      tool_choice: { type: 'function', name: 'weather' },
      parallel_tool_calls: false,
      text: {
        format: { type: 'json_schema', name: 'out', schema: { type: 'object' }, strict: true },
        verbosity: 'high',
      },
      reasoning: { effort: 'low', generate_summary: 'auto' },
      max_output_tokens: 50,
      temperature: 1,
      top_p: 1,
      top_logprobs: 2,
      include: ['message.output_text.logprobs', 'reasoning.encrypted_content'],
      truncation: 'disabled',
      max_tool_calls: 3,
      service_tier: 'auto',
      metadata: { a: 'b' },
    });
    expect(generation).toMatchObject({
      messages: [{ role: 'system', content: [{ type: 'text', text: 'Be brief.' }] }, { role: 'user' }],
      tools: [{ name: 'weather', parameters: { type: 'object' }, strict: false }],
      toolChoice: { name: 'weather' },
      parallelToolCalls: false,
      format: { type: 'jsonSchema', name: 'out', strict: true },
      verbosity: 'high',
      reasoningEffort: 'low',
      reasoningSummary: true,
      maxOutputTokens: 50,
      topLogprobs: 2,
      parameterNames: {
        messages: 'input',
        format: 'text.format',
        topLogprobs: 'include',
        reasoningEffort: 'reasoning.effort',
      },
    });
  });

  it('consecutive assistant items become one message, followed by the outputs of its calls', () => {
    expect(
      translateInput(
        { role: 'user', content: [{ type: 'input_text', text: 'Look' }, IMAGE] },
        { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm.' }] },
        {
          type: 'message',
          role: 'assistant',
          id: 'msg_1',
          status: 'completed',
          phase: 'commentary',
          content: [{ type: 'output_text', text: 'Let me see.', annotations: [], logprobs: [] }],
        },
        CALL,
        { ...CALL, call_id: 'c2' },
        { ...OUTPUT, call_id: 'c2', output: [{ type: 'input_text', text: 'see' }, IMAGE] },
        { type: 'message', role: 'developer', content: 'Hurry.' },
        OUTPUT,
        { type: 'message', role: 'assistant', content: [{ type: 'refusal', refusal: 'No.' }] },
      ),
    ).toEqual([
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Look' },
          {
            type: 'image',
            mediaType: 'image/png',
            base64: PNG,
            detail: 'auto',
            param: 'input[0].content[1].image_url',
          },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'reasoning', text: 'Hm.' },
          { type: 'text', text: 'Let me see.' },
          { type: 'toolCall', id: 'c1', name: 'weather', arguments: '{}' },
          { type: 'toolCall', id: 'c2', name: 'weather', arguments: '{}' },
        ],
      },
      { role: 'tool', toolCallId: 'c1', content: [{ type: 'text', text: '21' }] },
      {
        role: 'tool',
        toolCallId: 'c2',
        content: [
          { type: 'text', text: 'see' },
          { type: 'image', mediaType: 'image/png', base64: PNG, detail: 'auto', param: 'input[5].output[1].image_url' },
        ],
      },
      { role: 'system', content: [{ type: 'text', text: 'Hurry.' }] },
      { role: 'assistant', content: [{ type: 'refusal', text: 'No.' }] },
    ]);
  });

  it('a new assistant message starts after the output of a function call', () => {
    const roles = translateInput(CALL, OUTPUT, { ...CALL, call_id: 'c2' }, { ...OUTPUT, call_id: 'c2' }).map(
      ({ role }) => role,
    );
    expect(roles).toEqual(['assistant', 'tool', 'assistant', 'tool']);
  });

  it('files are translated to documents: PDFs as they are, and texts in UTF-8', () => {
    const file = (fields: object) => ({ type: 'input_file', ...fields });
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    const param = (index: number) => `input[0].content[${index}].file_data`;
    const [message] = translateInput({
      role: 'user',
      content: [
        file({ filename: 'a.pdf', file_data: `data:application/pdf;base64,${base64('%PDF-1.7')}` }),
        file({ file_data: base64('%PDF-1.7') }),
        file({ filename: 'é.md', file_data: `data:text/markdown;charset=utf-8;base64,${base64('# é')}` }),
        file({ file_data: base64('plain') }),
      ],
    });
    const pdf = { type: 'document', mediaType: 'application/pdf', base64: base64('%PDF-1.7') };
    expect(message?.content).toEqual([
      { ...pdf, param: param(0), title: 'a.pdf' },
      { ...pdf, param: param(1) },
      { type: 'document', mediaType: 'text/plain', text: '# é', param: param(2), title: 'é.md' },
      { type: 'document', mediaType: 'text/plain', text: 'plain', param: param(3) },
    ]);
  });

  it('a call or output that the input repeats is taken once', () => {
    expect(translateInput(CALL, CALL, OUTPUT, OUTPUT).map(({ role }) => role)).toEqual(['assistant', 'tool']);
  });

  it('an output without a call id belongs to the last call before it that has none', () => {
    const { call_id: _, ...output } = OUTPUT;
    const messages = translateInput(CALL, { ...CALL, call_id: 'c2' }, { ...output, output: 'two' }, output);
    expect(messages).toMatchObject([
      { role: 'assistant' },
      { toolCallId: 'c1', content: [{ text: '21' }] },
      { toolCallId: 'c2', content: [{ text: 'two' }] },
    ]);
    const error = catchError({ input: [output] });
    expect(error).toMatchObject({ code: 'missing_required_parameter', param: 'input[0].call_id' });
  });

  it('with the context of the current turn, the model gets no reasoning of earlier turns', () => {
    const reasoning = (text: string) => ({
      type: 'reasoning',
      id: `rs_${text}`,
      summary: [{ type: 'summary_text', text }],
    });
    const user = { role: 'user', content: 'Go on' };
    const input = [
      user,
      reasoning('old'),
      { role: 'assistant', content: 'Done.' },
      user,
      reasoning('new'),
      CALL,
      OUTPUT,
    ];
    const texts = (context: string) =>
      parse({ input, reasoning: { context } }).generation.messages.flatMap(({ role, content }) =>
        role === 'assistant' ? content.flatMap((part) => (part.type === 'reasoning' ? [part.text] : [])) : [],
      );
    expect(texts('current_turn')).toEqual(['new']);
    expect(texts('all_turns')).toEqual(['old', 'new']);
    expect(texts('auto')).toEqual(['old', 'new']);
  });

  it('values of include for tools that are not used are accepted', () => {
    expect(
      parse({ include: ['web_search_call.action.sources', 'code_interpreter_call.outputs'] }).generation.model,
    ).toBe('default');
  });

  it('an item id of more than 128 characters is rejected, and one that is not a string is ignored', () => {
    const items = [{ role: 'user', content: 'Hello' }, CALL, OUTPUT, { type: 'reasoning', summary: [] }];
    for (const item of items) {
      const id = `${'m'.repeat(500_000)}_${'a'.repeat(24)}`;
      const { code, param, message } = catchError({ input: [{ ...item, id }] });
      expect({ code, param }).toEqual({ code: 'invalid_value', param: 'input[0].id' });
      expect(message.length).toBeLessThan(300);
    }
    expect(translateInput({ role: 'user', content: 'Hello', id: 5 })).toHaveLength(1);
  });

  it('encrypted reasoning is decoded if it is Lambent’s own, and ignored otherwise', () => {
    const own = encodeReasoning('All of it.', { provider: 'bedrock', data: { signature: 's' } });
    const reasoning = { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'A bit.' }] };
    const part = (encrypted_content: string | null | undefined) =>
      translateInput({ ...reasoning, encrypted_content }, CALL, OUTPUT)[0]?.content[0];
    expect(part(own)).toEqual({
      type: 'reasoning',
      text: 'All of it.',
      continuation: { provider: 'bedrock', data: { signature: 's' } },
    });
    expect(part('gAAAAABother')).toEqual({ type: 'reasoning', text: 'A bit.' });
    expect(part(null)).toEqual({ type: 'reasoning', text: 'A bit.' });
    expect(
      translateInput({ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'gAAAAABother' }, CALL, OUTPUT)[0]
        ?.content,
    ).toHaveLength(1);
  });

  const faults: [fault: string, changes: object, code: string, param: string | undefined, message: RegExp][] = [
    ['no input', { input: undefined }, 'missing_required_parameter', 'input', /Missing/],
    ['null for an input', { input: null }, 'missing_required_parameter', 'input', /Missing/],
    [
      'a number for input',
      { input: 4 },
      'invalid_type',
      'input',
      /expected one of a string or array of objects, but got an integer/,
    ],
    ['an empty input', { input: [] }, 'invalid_value', 'input', /empty array/],
    ['a number for the conversation', { conversation: 4 }, 'invalid_type', 'conversation', /expected an object/],
    [
      'both a conversation and a previous response',
      { conversation: 'conv_1', previous_response_id: 'resp_1' },
      'invalid_value',
      'previous_response_id',
      /Mutually exclusive/,
    ],
    [
      'background processing without storage',
      { background: true, store: false },
      'invalid_value',
      'background',
      /require 'store' to be true/,
    ],
    [
      'a stored prompt in place of an input',
      { prompt: { id: 'pmpt_1' }, input: undefined },
      'unsupported_parameter',
      'prompt',
      /stores no prompts/,
    ],
    ['an unknown truncation', { truncation: 'first' }, 'invalid_value', 'truncation', /Supported values/],
    ['an unknown tool', { tools: [{ type: 'magic' }] }, 'invalid_value', 'tools[0].type', /Invalid value: 'magic'/],
    ['an unknown include', { include: ['everything'] }, 'invalid_value', 'include[0]', /Invalid value: 'everything'/],
    [
      'a reference to a missing item',
      { input: [{ type: 'item_reference', id: 'msg_1' }] },
      'not_found',
      'input',
      /Item with id 'msg_1' not found/,
    ],
    [
      'an item without type or role',
      { input: [{ content: 'Hello' }] },
      'missing_required_parameter',
      'input[0].type',
      /Missing/,
    ],
    [
      'an image file id',
      { input: [{ role: 'user', content: [{ type: 'input_image', file_id: 'file_1', detail: 'auto' }] }] },
      'unsupported_parameter',
      'input[0].content[0].file_id',
      /Use 'image_url'/,
    ],
    [
      'an image part without an image',
      { input: [{ role: 'user', content: [{ type: 'input_image', detail: 'auto' }] }] },
      'missing_required_parameter',
      'input[0].content[0].image_url',
      /Missing/,
    ],
    [
      'a file part without data',
      { input: [{ role: 'user', content: [{ type: 'input_file' }] }] },
      'missing_required_parameter',
      'input[0].content[0].file_data',
      /Missing/,
    ],
    [
      'the URL of a file',
      { input: [{ role: 'user', content: [{ type: 'input_file', file_url: 'https://a.example.com/x.pdf' }] }] },
      'unsupported_parameter',
      'input[0].content[0].file_url',
      /downloads no files: use 'file_data'/,
    ],
    [
      'the id of a file',
      { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'file_1' }] }] },
      'unsupported_parameter',
      'input[0].content[0].file_id',
      /Use 'file_data'/,
    ],
    [
      'a file that is neither a PDF nor a text',
      {
        input: [{ role: 'user', content: [{ type: 'input_file', file_data: 'data:application/zip;base64,UEsDBA==' }] }],
      },
      'invalid_value',
      'input[0].content[0].file_data',
      /unsupported file/,
    ],
    [
      'a file whose data is not base64',
      { input: [{ role: 'user', content: [{ type: 'input_file', file_data: 'Hello' }] }] },
      'invalid_value',
      'input[0].content[0].file_data',
      /expected a base64 data URL/,
    ],
    [
      'input text in an assistant message',
      { input: [{ role: 'assistant', content: [{ type: 'input_text', text: 'x' }] }] },
      'invalid_value',
      'input[0].content[0].type',
      /Supported values are: 'output_text' and 'refusal'/,
    ],
    [
      'a function call without its output',
      { input: [CALL] },
      'invalid_value',
      'input',
      /No tool output found for function call c1/,
    ],
    [
      'an output without its function call',
      { input: [OUTPUT] },
      'invalid_value',
      'input[0].call_id',
      /No tool call found for function call output with call_id c1/,
    ],
    [
      'a duplicate item id',
      {
        input: [
          { role: 'user', content: 'Hi', id: 'msg_1' },
          CALL,
          OUTPUT,
          { role: 'user', content: 'Hi', id: 'msg_1' },
        ],
      },
      'invalid_value',
      'input',
      /^Duplicate item found with id msg_1. Remove duplicate items from your input and try again.$/,
    ],
    [
      'two function calls with the same id',
      { input: [CALL, { ...CALL, arguments: '{"a":1}' }, OUTPUT, OUTPUT] },
      'invalid_value',
      'input[1].call_id',
      /same id/,
    ],
    [
      'the reasoning mode pro',
      { reasoning: { mode: 'pro' } },
      'unsupported_value',
      'reasoning.mode',
      /supports only 'standard'/,
    ],
    ['messages of chat completions', { messages: [{}] }, 'unknown_parameter', 'messages', /Use 'input' instead\.$/],
    [
      'an output limit of chat completions',
      { max_tokens: 9 },
      'unknown_parameter',
      'max_tokens',
      /^Unknown parameter: 'max_tokens'\. Use 'max_output_tokens' instead\.$/,
    ],
    [
      'an output format of chat completions',
      { response_format: { type: 'json_object' } },
      'unknown_parameter',
      'response_format',
      /Use 'text\.format' instead\.$/,
    ],
    ['a parameter of other APIs', { grammar: 'x' }, 'unknown_parameter', 'grammar', /^Unknown parameter: 'grammar'\.$/],
    [
      'an input of which nothing is left for a model',
      { input: [{ type: 'reasoning' }] },
      'invalid_value',
      'input',
      /at least one message/,
    ],
  ];
  it('values of include for tools that are not used, and all contexts of reasoning, are accepted', () => {
    const include = ['web_search_call.action.sources', 'file_search_call.results', 'code_interpreter_call.outputs'];
    for (const context of ['auto', 'current_turn', 'all_turns'])
      expect(parse({ include, reasoning: { context } }).generation).toEqual(parse({}).generation);
    expect(parse({ service_tier: 'ultrafast' }).generation.serviceTier).toBe('priority');
  });

  it.each(faults)('a response request with %s is rejected', (_, changes, code, param, message) => {
    const error = catchError(changes);
    expect({ code: error.code, param: error.param }).toEqual({ code, param });
    expect(error.message).toMatch(message);
  });
});
