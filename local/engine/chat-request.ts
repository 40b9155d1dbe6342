import { hash } from 'node:crypto';
import * as v from 'valibot';

const tokens = v.pipe(v.number(), v.integer(), v.minValue(1));
const textPart = v.looseObject({ type: v.string(), text: v.optional(v.string()) });

/** The fields of a chat completion that the stand-in reads. It ignores unknown fields, as stock engines do. */
export const chatRequestSchema = v.looseObject({
  model: v.string(),
  messages: v.pipe(
    v.array(
      v.looseObject({ role: v.string(), content: v.optional(v.nullable(v.union([v.string(), v.array(textPart)]))) }),
    ),
    v.minLength(1),
  ),
  tools: v.optional(v.nullable(v.array(v.unknown()))),
  stream: v.optional(v.nullable(v.boolean())),
  stream_options: v.optional(v.nullable(v.looseObject({ include_usage: v.optional(v.boolean()) }))),
  max_tokens: v.optional(v.nullable(tokens)),
  max_completion_tokens: v.optional(v.nullable(tokens)),
  response_format: v.optional(
    v.nullable(
      v.looseObject({ type: v.string(), json_schema: v.optional(v.looseObject({ schema: v.optional(v.unknown()) })) }),
    ),
  ),
  stop: v.optional(v.nullable(v.union([v.string(), v.array(v.string())]))),
  n: v.optional(v.nullable(v.literal(1, 'only 1 is supported'))),
  // The following fields are vLLM's extensions.
  /** Lower priorities run first. */
  priority: v.optional(v.pipe(v.number(), v.integer()), 0),
  /** Separates one caller's prompts from other callers' prompts in the prefix cache. */
  cache_salt: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1)))),
  /** Generates up to the token limit, for measurements. */
  ignore_eos: v.optional(v.boolean(), false),
});

export type ChatRequest = v.InferOutput<typeof chatRequestSchema>;

/** The average of English text, used because the stand-in has no tokenizer. */
const BYTES_PER_TOKEN = 4;

/**
 * Renders the prompt as a chat template does: in order, so that each turn's prompt extends the previous turn's prompt.
 */
export function renderPrompt({ messages, tools }: ChatRequest): string {
  const turns = messages.map((message) => `<|${message.role}|>\n${readContent(message)}\n`);
  return [tools?.length ? `${JSON.stringify(tools)}\n` : '', ...turns, '<|assistant|>\n'].join('');
}

/** Returns the text of the last user message. */
export function findLastUserText({ messages }: ChatRequest): string {
  const last = messages.findLast(({ role }) => role === 'user');
  return last === undefined ? '' : readContent(last);
}

function readContent({ content, role: _role, ...rest }: ChatRequest['messages'][number]): string {
  const text = typeof content === 'string' ? content : (content ?? []).map(readPart).join('');
  return 'tool_calls' in rest ? `${text}${JSON.stringify(rest['tool_calls'])}` : text;
}

function readPart(part: v.InferOutput<typeof textPart>): string {
  return part.text ?? JSON.stringify(part);
}

/** Estimates the tokens of a prompt. */
export function countTokens(prompt: string): number {
  return Math.ceil(Buffer.byteLength(prompt) / BYTES_PER_TOKEN);
}

/**
 * Returns an id for each full block of a prompt: a hash of the model, the salt and the whole text up to the block's
 * end.
 * @returns whole numbers of 48 bits
 */
export function hashBlocks(prompt: string, blockTokens: number, model: string, salt: string): number[] {
  const bytes = Buffer.from(prompt);
  const size = blockTokens * BYTES_PER_TOKEN;
  const ids: number[] = [];
  let chained = hash('sha256', JSON.stringify([model, salt]), 'buffer');
  for (let end = size; end <= bytes.length; end += size) {
    chained = hash('sha256', Buffer.concat([chained, bytes.subarray(end - size, end)]), 'buffer');
    ids.push(chained.readUIntBE(0, 6));
  }
  return ids;
}
