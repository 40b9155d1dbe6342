import { EVENT_STREAM, eventOf, type Reply, type Step } from './reply.ts';
import { minimalInstance } from './schema-instance.ts';

export interface ChatModelOptions {
  /** A stream stops after its first token until this promise settles. Absent: it does not stop. */
  readonly gate?: Promise<unknown> | undefined;
}

/**
 * A small deterministic chat model in OpenAI's own dialect:
 * - tools and a last message from the user: calls the first tool (or the one demanded) with minimal arguments;
 * - a last message from a tool: says `The tool said: …`;
 * - a JSON schema: the schema's minimal instance; JSON mode: `{"answer": …}`;
 * - images: says how many it saw and of which kind;
 * - else `You said: …`.
 *
 * An output limit below the answer's words cuts it, with `finish_reason: length`. Tokens are words.
 */
export function chatModel(body: unknown, options: ChatModelOptions = {}): Reply {
  const request = requestOf(body);
  if (request === undefined) return { status: 400, body: errorBody('messages is required', 'messages') };
  const answer = answerTo(request);
  return request.stream ? streamed(request, answer, options) : buffered(request, answer);
}

interface ChatRequest {
  readonly model: string;
  readonly messages: readonly Fields[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly limit: number;
  readonly tools: readonly Fields[];
  readonly toolChoice: unknown;
  readonly format: Fields | undefined;
}

interface Answer {
  readonly words: readonly string[];
  readonly call: { readonly name: string; readonly arguments: string } | undefined;
  readonly finishReason: 'stop' | 'length' | 'tool_calls';
}

type Fields = Readonly<Record<string, unknown>>;

function requestOf(body: unknown): ChatRequest | undefined {
  const fields = fieldsOf(body);
  const messages = listOf(fields?.['messages']);
  if (fields === undefined || messages.length === 0) return undefined;
  const limit = fields['max_completion_tokens'] ?? fields['max_tokens'];
  return {
    model: String(fields['model']),
    messages,
    stream: fields['stream'] === true,
    includeUsage: fieldsOf(fields['stream_options'])?.['include_usage'] === true,
    limit: typeof limit === 'number' ? limit : Number.POSITIVE_INFINITY,
    tools: listOf(fields['tools']),
    toolChoice: fields['tool_choice'] ?? 'auto',
    format: fieldsOf(fields['response_format']),
  };
}

function answerTo(request: ChatRequest): Answer {
  const last = request.messages.at(-1) ?? {};
  const tool = last['role'] === 'user' ? chosenTool(request) : undefined;
  if (tool !== undefined) {
    const call = { name: String(tool['name']), arguments: JSON.stringify(minimalInstance(tool['parameters'])) };
    return { words: [], call, finishReason: 'tool_calls' };
  }
  const all = textFor(request, last).match(/\S+\s*/g) ?? [];
  const words = all.slice(0, request.limit);
  return { words, call: undefined, finishReason: words.length < all.length ? 'length' : 'stop' };
}

function chosenTool({ tools, toolChoice }: ChatRequest): Fields | undefined {
  if (toolChoice === 'none') return undefined;
  const definitions = tools.map((tool) => fieldsOf(tool['function']) ?? {});
  const demanded = fieldsOf(fieldsOf(toolChoice)?.['function'])?.['name'];
  return demanded === undefined ? definitions[0] : definitions.find(({ name }) => name === demanded);
}

function textFor({ format }: ChatRequest, last: Fields): string {
  const said = textOf(last['content']);
  if (format?.['type'] === 'json_schema') {
    return JSON.stringify(minimalInstance(fieldsOf(format['json_schema'])?.['schema']));
  }
  if (format?.['type'] === 'json_object') return JSON.stringify({ answer: said });
  if (last['role'] === 'tool') return `The tool said: ${said}`;
  const images = imagesOf(last['content']);
  if (images.length > 0) return `You showed ${images.length} (${images.join(', ')}) and said: ${said}`;
  return `You said: ${said}`;
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  return listOf(content)
    .map(({ text }) => (typeof text === 'string' ? text : ''))
    .join('');
}

/** The media type of inline images, the URL of others. */
function imagesOf(content: unknown): string[] {
  return listOf(content)
    .filter(({ type }) => type === 'image_url')
    .map((part) => String(fieldsOf(part['image_url'])?.['url']).replace(/^data:([^;]+);.*$/s, '$1'));
}

function usageOf({ messages }: ChatRequest, { words, call }: Answer): Fields {
  const prompt = messages.reduce((sum, { content }) => sum + textOf(content).split(/\s+/).filter(Boolean).length, 0);
  const completion = words.length + (call === undefined ? 0 : 1);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

const CALL_ID = 'call_0123456789abcdefghijklmn';
const common = (model: string): Fields => ({
  id: 'chatcmpl-upstream',
  created: 1_700_000_000,
  model,
  service_tier: 'default',
});

function buffered(request: ChatRequest, answer: Answer): Reply {
  const { words, call, finishReason } = answer;
  const toolCalls = call && { tool_calls: [{ id: CALL_ID, type: 'function', function: call }] };
  const message = { role: 'assistant', content: call ? null : words.join(''), refusal: null, ...toolCalls };
  const choice = { index: 0, message, logprobs: null, finish_reason: finishReason };
  return {
    body: { ...common(request.model), object: 'chat.completion', choices: [choice], usage: usageOf(request, answer) },
  };
}

function streamed(request: ChatRequest, answer: Answer, { gate }: ChatModelOptions): Reply {
  const { call, words, finishReason } = answer;
  const head = { ...common(request.model), object: 'chat.completion.chunk' };
  const chunk = (delta: Fields, reason: string | null = null): string =>
    eventOf({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }] });
  const role = { role: 'assistant', content: call ? null : '', refusal: null };
  const tokens = call ? callDeltas(call) : words.map((content) => ({ content }));
  const steps: Step[] = [
    { send: chunk(role) },
    ...tokens.flatMap((delta, index): Step[] => [
      ...(index === 1 && gate !== undefined ? [{ until: gate }] : []),
      { send: chunk(delta) },
    ]),
    { send: chunk({}, finishReason) },
  ];
  if (request.includeUsage) steps.push({ send: eventOf({ ...head, choices: [], usage: usageOf(request, answer) }) });
  return { headers: EVENT_STREAM, steps: [...steps, { send: eventOf('[DONE]') }] };
}

/** The name first, then the arguments in pieces, as OpenAI sends them. */
function callDeltas(call: { readonly name: string; readonly arguments: string }): Fields[] {
  const fragments = call.arguments.match(/.{1,7}/gs) ?? [];
  const first = { index: 0, id: CALL_ID, type: 'function', function: { name: call.name, arguments: '' } };
  return [
    { tool_calls: [first] },
    ...fragments.map((fragment) => ({ tool_calls: [{ index: 0, function: { arguments: fragment } }] })),
  ];
}

function errorBody(message: string, param: string): Fields {
  return { error: { message, type: 'invalid_request_error', param, code: null } };
}

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}

function listOf(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(fieldsOf).filter((item) => item !== undefined) : [];
}
