import { createMinimalInstance } from '../../local/bedrock/schema-instance.ts';
import { EVENT_STREAM, encodeEvent, type Reply, type Step } from './reply.ts';

export interface ChatModelOptions {
  /** If present, a stream pauses after its first token until this promise settles. */
  readonly gate?: Promise<unknown> | undefined;
  /** Returns the answer to a request's body; an answer by the rules below when absent. */
  readonly answer?: (body: unknown) => ModelAnswer;
}

/** What a model says, or the tools that it calls, and its reasoning before that. */
export type ModelAnswer = ({ readonly text: string } | { readonly calls: readonly ModelCall[] }) & {
  readonly reasoning?: string;
};

/** A call of a tool. */
export interface ModelCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/**
 * Replies to a chat completion request as a small deterministic model behind OpenAI's API. The reply depends on the
 * request:
 * - with tools, and the last message from the user: a call of the required or the first tool with minimal arguments
 * - with the last message from a tool: `The tool said: …`
 * - with a JSON schema: the schema's minimal instance
 * - in JSON mode: `{"answer": …}`
 * - with images: their number and types
 * - otherwise: `You said: …`
 *
 * Tokens are words. If the output limit cuts the reply, its `finish_reason` is `length`.
 */
export function replyAsChatModel(body: unknown, options: ChatModelOptions = {}): Reply {
  const request = parseRequest(body);
  if (request === undefined) return { status: 400, body: createErrorBody('messages is required', 'messages') };
  const answer = options.answer ? limitAnswer(request, options.answer(body)) : createAnswer(request);
  return request.stream ? streamAnswer(request, answer, options) : sendAnswer(request, answer);
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
  readonly calls: readonly WireCall[];
  readonly reasoning: string | undefined;
  readonly finishReason: 'stop' | 'length' | 'tool_calls';
}

interface WireCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

type Fields = Readonly<Record<string, unknown>>;

function parseRequest(body: unknown): ChatRequest | undefined {
  const fields = toFields(body);
  const messages = toFieldsList(fields?.['messages']);
  if (fields === undefined || messages.length === 0) return undefined;
  const limit = fields['max_completion_tokens'] ?? fields['max_tokens'];
  return {
    model: String(fields['model']),
    messages,
    stream: fields['stream'] === true,
    includeUsage: toFields(fields['stream_options'])?.['include_usage'] === true,
    limit: typeof limit === 'number' ? limit : Number.POSITIVE_INFINITY,
    tools: toFieldsList(fields['tools']),
    toolChoice: fields['tool_choice'] ?? 'auto',
    format: toFields(fields['response_format']),
  };
}

function createAnswer(request: ChatRequest): Answer {
  const last = request.messages.at(-1) ?? {};
  const tool = last['role'] === 'user' ? chooseTool(request) : undefined;
  if (tool === undefined) return limitAnswer(request, { text: createText(request, last) });
  const minimal = toFields(createMinimalInstance(tool['parameters'])) ?? {};
  return limitAnswer(request, { calls: [{ name: String(tool['name']), arguments: minimal }] });
}

function limitAnswer(request: ChatRequest, answer: ModelAnswer): Answer {
  const { reasoning } = answer;
  if ('calls' in answer) {
    // The ids of a conversation's calls differ.
    const earlier = request.messages.flatMap((message) => toFieldsList(message['tool_calls'])).length;
    const calls = answer.calls.map((call, index) => ({
      id: `call_${String(earlier + index).padStart(24, '0')}`,
      name: call.name,
      arguments: JSON.stringify(call.arguments),
    }));
    return { words: [], calls, reasoning, finishReason: 'tool_calls' };
  }
  const all = answer.text.match(/\S+\s*/g) ?? [];
  const words = all.slice(0, request.limit);
  return { words, calls: [], reasoning, finishReason: words.length < all.length ? 'length' : 'stop' };
}

function chooseTool({ tools, toolChoice }: ChatRequest): Fields | undefined {
  if (toolChoice === 'none') return undefined;
  const definitions = tools.map((tool) => toFields(tool['function']) ?? {});
  const requiredName = toFields(toFields(toolChoice)?.['function'])?.['name'];
  return requiredName === undefined ? definitions[0] : definitions.find(({ name }) => name === requiredName);
}

function createText({ format }: ChatRequest, last: Fields): string {
  const text = getText(last['content']);
  if (format?.['type'] === 'json_schema') {
    return JSON.stringify(createMinimalInstance(toFields(format['json_schema'])?.['schema']));
  }
  if (format?.['type'] === 'json_object') return JSON.stringify({ answer: text });
  if (last['role'] === 'tool') return `The tool said: ${text}`;
  const images = listImages(last['content']);
  if (images.length > 0) return `You showed ${images.length} (${images.join(', ')}) and said: ${text}`;
  return `You said: ${text}`;
}

function getText(content: unknown): string {
  if (typeof content === 'string') return content;
  return toFieldsList(content)
    .map(({ text }) => (typeof text === 'string' ? text : ''))
    .join('');
}

/** Returns the media types of inline images and the URLs of remote ones. */
function listImages(content: unknown): string[] {
  return toFieldsList(content)
    .filter(({ type }) => type === 'image_url')
    .map((part) => String(toFields(part['image_url'])?.['url']).replace(/^data:([^;]+);.*$/s, '$1'));
}

function countUsage({ messages }: ChatRequest, { words, calls }: Answer): Fields {
  const prompt = messages.reduce((sum, { content }) => sum + getText(content).split(/\s+/).filter(Boolean).length, 0);
  const completion = words.length + calls.length;
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

const createHead = (model: string): Fields => ({
  id: 'chatcmpl-upstream',
  created: 1_700_000_000,
  model,
  service_tier: 'default',
});

function sendAnswer(request: ChatRequest, answer: Answer): Reply {
  const { words, calls, reasoning, finishReason } = answer;
  const toolCalls = calls.map(({ id, ...call }) => ({ id, type: 'function', function: call }));
  const message = {
    role: 'assistant',
    content: calls.length > 0 ? null : words.join(''),
    refusal: null,
    ...(reasoning !== undefined && { reasoning_content: reasoning }),
    ...(calls.length > 0 && { tool_calls: toolCalls }),
  };
  const choice = { index: 0, message, logprobs: null, finish_reason: finishReason };
  return {
    body: {
      ...createHead(request.model),
      object: 'chat.completion',
      choices: [choice],
      usage: countUsage(request, answer),
    },
  };
}

function streamAnswer(request: ChatRequest, answer: Answer, { gate }: ChatModelOptions): Reply {
  const { calls, words, reasoning, finishReason } = answer;
  const head = { ...createHead(request.model), object: 'chat.completion.chunk' };
  const chunk = (delta: Fields, reason: string | null = null): string =>
    encodeEvent({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }] });
  const role = { role: 'assistant', content: calls.length > 0 ? null : '', refusal: null };
  const tokens = [
    ...(reasoning === undefined ? [] : [{ reasoning_content: reasoning }]),
    ...words.map((content) => ({ content })),
    ...calls.flatMap(splitCall),
  ];
  const steps: Step[] = [
    { send: chunk(role) },
    ...tokens.flatMap((delta, index): Step[] => [
      ...(index === 1 && gate !== undefined ? [{ until: gate }] : []),
      { send: chunk(delta) },
    ]),
    { send: chunk({}, finishReason) },
  ];
  if (request.includeUsage)
    steps.push({ send: encodeEvent({ ...head, choices: [], usage: countUsage(request, answer) }) });
  return { headers: EVENT_STREAM, steps: [...steps, { send: encodeEvent('[DONE]') }] };
}

/** Splits a tool call into its name and fragments of its arguments, as OpenAI does. */
function splitCall({ id, name, arguments: json }: WireCall, index: number): Fields[] {
  const fragments = json.match(/.{1,7}/gs) ?? [];
  const first = { index, id, type: 'function', function: { name, arguments: '' } };
  return [
    { tool_calls: [first] },
    ...fragments.map((fragment) => ({ tool_calls: [{ index, function: { arguments: fragment } }] })),
  ];
}

function createErrorBody(message: string, param: string): Fields {
  return { error: { message, type: 'invalid_request_error', param, code: null } };
}

function toFields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}

function toFieldsList(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(toFields).filter((item) => item !== undefined) : [];
}
