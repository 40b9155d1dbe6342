import { hash } from 'node:crypto';
import * as v from 'valibot';

const tokens = v.pipe(v.number(), v.integer(), v.minValue(1));
const textPart = v.looseObject({ type: v.string(), text: v.optional(v.string()) });

/** What of a chat completion the stand-in reads. As stock engines do, it passes over what it doesn't know. */
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
  stop: v.optional(v.nullable(v.union([v.string(), v.array(v.string())]))),
  n: v.optional(v.nullable(v.literal(1, 'only 1 is supported'))),
  // What follows is vLLM's own.
  /** Lower ones run first. */
  priority: v.optional(v.pipe(v.number(), v.integer()), 0),
  /** Keeps one caller's prompts apart from others' in the prefix cache. */
  cache_salt: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1)))),
  /** Goes on to the token limit: for measurements. */
  ignore_eos: v.optional(v.boolean(), false),
});

export type ChatRequest = v.InferOutput<typeof chatRequestSchema>;

/** What English text has on average; there is no tokenizer here. */
const BYTES_PER_TOKEN = 4;

/** The prompt as a chat template would write it: what is said first stands first, so that a talk's turns begin alike. */
export function renderPrompt({ messages, tools }: ChatRequest): string {
  const turns = messages.map((message) => `<|${message.role}|>\n${contentText(message)}\n`);
  return [tools?.length ? `${JSON.stringify(tools)}\n` : '', ...turns, '<|assistant|>\n'].join('');
}

/** What the user said last. */
export function findLastUserText({ messages }: ChatRequest): string {
  const last = messages.findLast(({ role }) => role === 'user');
  return last === undefined ? '' : contentText(last);
}

function contentText({ content, role: _role, ...rest }: ChatRequest['messages'][number]): string {
  const text = typeof content === 'string' ? content : (content ?? []).map(partText).join('');
  return 'tool_calls' in rest ? `${text}${JSON.stringify(rest['tool_calls'])}` : text;
}

function partText(part: v.InferOutput<typeof textPart>): string {
  return part.text ?? JSON.stringify(part);
}

/** Tokens of a prompt, estimated. */
export function countTokens(prompt: string): number {
  return Math.ceil(Buffer.byteLength(prompt) / BYTES_PER_TOKEN);
}

/**
 * Names of a prompt's full blocks: each is a hash of all the text up to its end, of the model and of the salt.
 * @returns whole numbers of 48 bits
 */
export function hashBlocks(prompt: string, blockTokens: number, model: string, salt: string): number[] {
  const bytes = Buffer.from(prompt);
  const size = blockTokens * BYTES_PER_TOKEN;
  const names: number[] = [];
  let chained = hash('sha256', JSON.stringify([model, salt]), 'buffer');
  for (let end = size; end <= bytes.length; end += size) {
    chained = hash('sha256', Buffer.concat([chained, bytes.subarray(end - size, end)]), 'buffer');
    names.push(chained.readUIntBE(0, 6));
  }
  return names;
}
