/**
 * Bodies of each API that have a text in each field that a model or its service can get. The name of a parameter of tools is the text,
 * too, unless another one is given.
 */

const schema = (text: string, name: string) => ({
  type: 'object',
  description: text,
  properties: {
    field: { type: 'string', description: text, enum: [text, 'other'], default: text },
    [name]: { type: 'string' },
  },
  required: ['field'],
  additionalProperties: false,
});

const json = (text: string) => JSON.stringify({ a: text, [text]: [1, { nested: text }] });

/** Returns the body of a chat completion. The last message is the text. */
export function makeChatBody(text: string, name = text) {
  return {
    model: 'default',
    messages: [
      { role: 'system', content: text },
      { role: 'developer', content: [{ type: 'text', text }] },
      {
        role: 'user',
        content: [
          { type: 'text', text },
          { type: 'text', text: 'and' },
        ],
      },
      {
        role: 'assistant',
        content: [{ type: 'text', text }],
        reasoning: text,
        reasoning_details: [
          { type: 'reasoning.text', text, signature: text, content: text, [text]: text },
          { type: 'reasoning.encrypted', data: text, encrypted_content: text },
        ],
        tool_calls: [
          {
            id: 'call_1',
            type: 'function',
            function: { name: 'lookup', arguments: json(text) },
            extra_content: { google: { thought_signature: text } },
          },
        ],
      },
      { role: 'tool', tool_call_id: 'call_1', content: json(text) },
      { role: 'assistant', content: null, refusal: text },
      { role: 'user', content: text },
    ],
    tools: [{ type: 'function', function: { name: 'lookup', description: text, parameters: schema(text, name) } }],
    tool_choice: 'none',
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'answer', description: text, schema: schema(text, name) },
    },
    stop: [text.slice(0, 200)],
    user: text,
    safety_identifier: text.slice(0, 64),
    prompt_cache_key: text.slice(0, 64),
    metadata: { note: text },
  };
}

/** Returns the body of a response that is not stored. */
export function makeResponsesBody(text: string, name = text) {
  return {
    model: 'default',
    store: false,
    instructions: text,
    input: [
      { role: 'user', content: [{ type: 'input_text', text }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text, annotations: [] }] },
      { type: 'function_call', call_id: 'call_1', name: 'lookup', arguments: json(text) },
      { type: 'function_call_output', call_id: 'call_1', output: json(text) },
      { type: 'custom_tool_call', call_id: 'call_2', name: 'write', input: text },
      { type: 'custom_tool_call_output', call_id: 'call_2', output: text },
      { role: 'developer', content: text },
      { role: 'user', content: text },
    ],
    tools: [
      { type: 'function', name: 'lookup', description: text, parameters: schema(text, name), strict: false },
      { type: 'custom', name: 'write', description: text },
    ],
    tool_choice: 'none',
    text: { format: { type: 'json_schema', name: 'answer', description: text, schema: schema(text, name) } },
    user: text,
    metadata: { note: text },
    prompt_cache_key: text.slice(0, 64),
  };
}

/** Returns the body of a message of Anthropic's API. */
export function makeMessagesBody(text: string, name = text) {
  return {
    model: 'default',
    max_tokens: 100,
    system: [{ type: 'text', text }],
    messages: [
      { role: 'user', content: [{ type: 'text', text }] },
      {
        role: 'assistant',
        content: [
          { type: 'text', text },
          { type: 'tool_use', id: 'toolu_1', name: 'lookup', input: JSON.parse(json(text)) },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text }] },
          { type: 'document', source: { type: 'text', media_type: 'text/plain', data: text }, title: text },
        ],
      },
      { role: 'assistant', content: 'ok' },
      { role: 'user', content: text },
    ],
    tools: [{ name: 'lookup', description: text, input_schema: schema(text, name) }],
    tool_choice: { type: 'none' },
    stop_sequences: [text],
    metadata: { user_id: text },
  };
}
