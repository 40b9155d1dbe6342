import type { Reply } from './reply.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * A model behind OpenAI's `POST /v1/responses`, which refuses what OpenAI refuses of the parts that are used here. Its
 * answer depends on the last input text: a text that contains `call` is answered by a function call, others by a web
 * search and a message that cites its source. Both follow reasoning, with an event and fields that no client knows.
 */
export function replyAsResponsesModel(body: unknown, { cutAfter }: { readonly cutAfter?: number } = {}): Reply {
  const request = body as Fields;
  const refusal = findRefusal(request);
  if (refusal !== undefined) return { status: 400, body: { error: { type: 'invalid_request_error', ...refusal } } };
  const response = createResponse(request);
  if (request['stream'] !== true) return { body: response };
  const events = createEvents(response);
  const sent = cutAfter === undefined ? events : events.slice(0, cutAfter);
  return {
    headers: { 'content-type': 'text/event-stream; charset=utf-8' },
    steps: sent.map((event) => ({ send: `event: ${event['type']}\ndata: ${JSON.stringify(event)}\n\n` })),
  };
}

const PARAMETERS = new Set([
  ...['model', 'input', 'instructions', 'stream', 'stream_options', 'store', 'include', 'max_output_tokens', 'tools'],
  ...['tool_choice', 'parallel_tool_calls', 'reasoning', 'text', 'temperature', 'top_p', 'top_logprobs', 'truncation'],
  ...['prompt_cache_key', 'safety_identifier', 'user', 'service_tier', 'max_tool_calls', 'brand_new_parameter'],
]);

interface Refusal {
  readonly message: string;
  readonly param: string | null;
  readonly code: string;
}

function findRefusal(request: Fields): Refusal | undefined {
  const unknown = Object.keys(request).find((name) => !PARAMETERS.has(name));
  if (unknown !== undefined)
    return { message: `Unknown parameter: '${unknown}'.`, param: unknown, code: 'unknown_parameter' };
  const include = (request['include'] ?? []) as readonly string[];
  if (request['model'] === 'plain-model' && include.includes('reasoning.encrypted_content'))
    return { message: 'Encrypted content is not supported with this model.', param: 'include', code: 'invalid_value' };
  const items = Array.isArray(request['input']) ? (request['input'] as readonly Fields[]) : [];
  for (const [index, item] of items.entries()) {
    const refusal = findItemRefusal(item, `input[${index}]`);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

const PREFIXES: Readonly<Record<string, string>> = {
  reasoning: 'rs',
  message: 'msg',
  function_call: 'fc',
  web_search_call: 'ws',
};

function findItemRefusal(
  { type = 'message', id, encrypted_content: content }: Fields,
  param: string,
): Refusal | undefined {
  const prefix = PREFIXES[String(type)];
  if (typeof id === 'string' && prefix !== undefined && !id.startsWith(`${prefix}_`))
    return {
      message: `Invalid '${param}.id': '${id}'. Expected an ID that begins with '${prefix}'.`,
      param: `${param}.id`,
      code: 'invalid_value',
    };
  if (type !== 'reasoning') return undefined;
  // Nothing is stored, so an item can't be found by its id.
  if (content === undefined) return { message: `Item with id '${id}' not found.`, param: 'input', code: 'not_found' };
  // https://github.com/BerriAI/litellm/pull/15782: the content is bound to the id of its item.
  return content === `gAAA:${id}`
    ? undefined
    : {
        message: `The encrypted content for item ${id} could not be verified.`,
        param: null,
        code: 'invalid_encrypted_content',
      };
}

let count = 0;

function createResponse(request: Fields): Fields {
  count += 1;
  const stem = `${count.toString(16).padStart(8, '0')}0a1b2c3d`;
  const isCall = JSON.stringify(request['input']).includes('call');
  const includesReasoning = ((request['include'] ?? []) as string[]).includes('reasoning.encrypted_content');
  const reasoning = {
    id: `rs_${stem}`,
    type: 'reasoning',
    summary: [{ type: 'summary_text', text: '**Thinking**' }],
    ...(includesReasoning && { encrypted_content: `gAAA:rs_${stem}` }),
  };
  const call = {
    id: `fc_${stem}`,
    type: 'function_call',
    status: 'completed',
    call_id: `call_${stem}`,
    name: 'weather',
    arguments: '{"city":"Rome"}',
  };
  const search = {
    id: `ws_${stem}`,
    type: 'web_search_call',
    status: 'completed',
    action: { type: 'search', query: 'Lambent' },
  };
  const novelty = { id: `nov_${stem}`, type: 'novelty_call', payload: { depth: [1, { x: null }] } };
  const message = {
    id: `msg_${stem}`,
    type: 'message',
    status: 'completed',
    role: 'assistant',
    phase: 'final_answer',
    content: [
      {
        type: 'output_text',
        text: 'Hello from the source.',
        annotations: [{ type: 'url_citation', start_index: 0, end_index: 5, url: 'https://example.com', title: 'E' }],
        logprobs: [{ token: 'Hello', logprob: -0.1, bytes: [72], top_logprobs: [] }],
      },
    ],
  };
  return {
    id: `resp_upstream${stem}`,
    object: 'response',
    created_at: 1_700_000_000,
    status: 'completed',
    background: false,
    completed_at: 1_700_000_001,
    error: null,
    incomplete_details: null,
    instructions: request['instructions'] ?? null,
    max_output_tokens: request['max_output_tokens'] ?? null,
    metadata: {},
    model: 'upstream-model-2026-01-01',
    output: isCall ? [reasoning, call] : [reasoning, search, novelty, message],
    parallel_tool_calls: true,
    previous_response_id: null,
    service_tier: 'default',
    store: false,
    tools: request['tools'] ?? [],
    usage: {
      input_tokens: 20,
      input_tokens_details: { cached_tokens: 4, orchestration_tokens: 1 },
      output_tokens: 10,
      output_tokens_details: { reasoning_tokens: 6 },
      total_tokens: 30,
    },
    brand_new_field: { nested: [1, 'two', null] },
  };
}

/** Creates the events of a stream, in the order in which OpenAI sends them. */
function createEvents(response: Fields): Fields[] {
  const begun = { ...response, status: 'in_progress', output: [], usage: null, completed_at: null };
  const events: Fields[] = [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
  ];
  for (const [output_index, item] of (response['output'] as Fields[]).entries()) {
    const fields = { item_id: item['id'], output_index };
    events.push({ type: 'response.output_item.added', output_index, item: { ...item, status: 'in_progress' } });
    if (item['type'] === 'message') {
      const [part] = item['content'] as Fields[];
      const at = { ...fields, content_index: 0 };
      events.push(
        { type: 'response.content_part.added', ...at, part: { ...part, text: '', annotations: [], logprobs: [] } },
        {
          type: 'response.output_text.delta',
          ...at,
          delta: 'Hello ',
          logprobs: part?.['logprobs'],
          obfuscation: 'xYz',
        },
        { type: 'response.output_text.delta', ...at, delta: 'from the source.', logprobs: [], obfuscation: 'q' },
        {
          type: 'response.output_text.annotation.added',
          ...at,
          annotation_index: 0,
          annotation: Object(part?.['annotations'])[0],
        },
        { type: 'response.output_text.done', ...at, text: part?.['text'], logprobs: part?.['logprobs'] },
        { type: 'response.content_part.done', ...at, part },
      );
    }
    if (item['type'] === 'function_call') {
      events.push(
        { type: 'response.function_call_arguments.delta', ...fields, delta: item['arguments'], obfuscation: 'z' },
        { type: 'response.function_call_arguments.done', ...fields, arguments: item['arguments'], name: item['name'] },
      );
    }
    if (item['type'] === 'novelty_call')
      events.push({ type: 'response.novelty.progress', ...fields, message: 'An unknown event', percent: 0.5 });
    events.push({ type: 'response.output_item.done', output_index, item });
  }
  events.push({ type: 'response.completed', response });
  return events.map((event, sequence_number) => ({ ...event, sequence_number }));
}
