import * as v from 'valibot';
import { type ModelAnswer, replyAsChatModel } from '../../upstreams/chat-model.ts';
import type { Script } from '../../upstreams/openai-upstream.ts';
import { type Conversation, decide } from './decide.ts';

/** The script of an upstream that serves the scripted model through OpenAI's chat completions. */
export const scriptedUpstream: Script = ({ method, path, body }) => {
  if (method === 'GET' && path === '/v1/models')
    return { body: { object: 'list', data: [{ id: 'scripted' }, { id: 'scripted-embedding' }] } };
  if (path === '/v1/embeddings') return { body: createEmbeddings(body) };
  return replyAsChatModel(body, { answer: (request) => answer(request) });
};

function answer(body: unknown): ModelAnswer {
  return decide(toConversation(v.parse(chatRequest, body)));
}

const chatRequest = v.object({
  messages: v.array(
    v.looseObject({
      role: v.string(),
      name: v.optional(v.nullable(v.string())),
      content: v.optional(
        v.nullable(v.union([v.string(), v.array(v.looseObject({ text: v.optional(v.string()) }))])),
        null,
      ),
    }),
  ),
  tools: v.optional(
    v.array(v.object({ function: v.object({ name: v.string(), parameters: v.optional(v.unknown()) }) })),
  ),
  tool_choice: v.optional(v.union([v.string(), v.object({ function: v.object({ name: v.string() }) })])),
  response_format: v.optional(v.object({ json_schema: v.optional(v.object({ schema: v.unknown() })) })),
  parallel_tool_calls: v.optional(v.boolean()),
  reasoning_effort: v.optional(v.string(), 'none'),
});

function toConversation(request: v.InferOutput<typeof chatRequest>): Conversation {
  const { messages, tools = [], tool_choice: choice = 'auto', response_format: format } = request;
  const required = choice === 'required' ? 'any' : choice;
  return {
    messages: messages.flatMap(({ role, name, content }) => {
      const said = readText(content);
      const text = role === 'user' && name ? `${name}: ${said}` : said;
      return role === 'user' || role === 'assistant' || role === 'tool' ? [{ role, text } as const] : [];
    }),
    tools: tools.map(({ function: { name, parameters } }) => ({ name, schema: parameters })),
    toolChoice: typeof required === 'string' ? required : required.function.name,
    schema: format?.json_schema?.schema,
    instructions: messages
      .filter(({ role }) => role === 'system')
      .map(({ content }) => readText(content))
      .join('\n'),
    isParallel: request.parallel_tool_calls ?? true,
    reasons: request.reasoning_effort !== 'none',
  };
}

function readText(content: v.InferOutput<typeof chatRequest>['messages'][number]['content']): string {
  return typeof content === 'string' ? content : (content ?? []).map((part) => part.text ?? '').join('\n');
}

const embeddingsRequest = v.object({
  input: v.union([v.string(), v.array(v.unknown())]),
  encoding_format: v.optional(v.string()),
});

/** Returns an embedding for each input: a vector of four numbers that depends on the input's place. */
function createEmbeddings(body: unknown): unknown {
  const { input, encoding_format: format } = v.parse(embeddingsRequest, body);
  const isOne = typeof input === 'string' || typeof input[0] === 'number';
  const vectors = Array.from({ length: isOne ? 1 : input.length }, (_, index) => [index, 0.25, 0.5, 1]);
  return {
    object: 'list',
    model: 'scripted',
    data: vectors.map((vector, index) => ({
      object: 'embedding',
      index,
      embedding: format === 'base64' ? Buffer.from(new Float32Array(vector).buffer).toString('base64') : vector,
    })),
    usage: { prompt_tokens: vectors.length, total_tokens: vectors.length },
  };
}
