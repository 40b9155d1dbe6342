import type { ContentBlockDelta, ConverseStreamOutput, TokenUsage } from '@aws-sdk/client-bedrock-runtime';
import * as v from 'valibot';
import { buildConverseResponse } from './buffered.ts';
import { jsonObject } from './converse-request.ts';
import { encodeJson, encodeRawEvent, type Frame, type Responder } from './frames.ts';

const mark = v.optional(v.strictObject({ type: v.literal('ephemeral'), ttl: v.optional(v.picklist(['5m', '1h'])) }));
const text = v.strictObject({
  type: v.literal('text'),
  text: v.pipe(v.string(), v.regex(/\S/, 'text content blocks must contain non-whitespace text')),
  cache_control: mark,
});
const media = v.looseObject({ type: v.picklist(['image', 'document', 'search_result']), cache_control: mark });
const content = v.variant('type', [
  text,
  media,
  v.strictObject({ type: v.literal('thinking'), thinking: v.string(), signature: v.pipe(v.string(), v.minLength(1)) }),
  v.strictObject({ type: v.literal('redacted_thinking'), data: v.string() }),
  v.strictObject({
    type: v.literal('tool_use'),
    id: v.string(),
    name: v.string(),
    input: jsonObject,
    cache_control: mark,
  }),
  v.strictObject({
    type: v.literal('tool_result'),
    tool_use_id: v.string(),
    content: v.optional(v.union([v.string(), v.array(v.variant('type', [text, media]))])),
    is_error: v.optional(v.boolean()),
    cache_control: mark,
  }),
]);

/** The flags that Bedrock accepts. @see https://github.com/router-for-me/CLIProxyAPI/issues/4750 */
const BETA =
  /^(computer-use|token-efficient-tools|interleaved-thinking|output-128k|dev-full-thinking|context-1m|tool-examples|fine-grained-tool-streaming|context-management)-/;

/** A message for Claude. As in Bedrock, other fields are "Extra inputs". */
const nativeBody = v.strictObject({
  anthropic_version: v.literal('bedrock-2023-05-31'),
  anthropic_beta: v.optional(v.array(v.pipe(v.string(), v.regex(BETA, 'invalid beta flag')))),
  max_tokens: v.pipe(v.number(), v.integer(), v.minValue(1)),
  messages: v.array(v.strictObject({ role: v.picklist(['user', 'assistant', 'system']), content: v.array(content) })),
  system: v.optional(v.array(text)),
  tools: v.optional(
    v.array(v.looseObject({ name: v.string(), input_schema: v.optional(v.looseObject({})), cache_control: mark })),
  ),
  tool_choice: v.optional(v.looseObject({ type: v.string(), name: v.optional(v.string()) })),
  thinking: v.optional(v.looseObject({ type: v.string() })),
  output_config: v.optional(v.strictObject({ effort: v.optional(v.string()) })),
  metadata: v.optional(v.strictObject({ user_id: v.nullish(v.string()) })),
  temperature: v.optional(v.number()),
  top_p: v.optional(v.number()),
  top_k: v.optional(v.number()),
  stop_sequences: v.optional(v.array(v.string())),
});
type NativeBody = v.InferOutput<typeof nativeBody>;
type Content = v.InferOutput<typeof content>;

/**
 * Translates a body of InvokeModel to one of Converse, so that the same rules and responders serve both.
 * @returns the body, or the text of the ValidationException
 */
export function translateNativeBody(modelId: string, json: unknown): object | string {
  if (!modelId.includes('anthropic.claude')) return 'The stand-in serves InvokeModel only for Claude.';
  const result = v.safeParse(nativeBody, json);
  if (!result.success) {
    const [issue] = result.issues;
    const reason = issue.type === 'strict_object' ? 'Extra inputs are not permitted' : issue.message;
    return `${v.getDotPath(issue) ?? 'body'}: ${reason}`;
  }
  const { messages, system, tools, tool_choice, thinking, output_config, max_tokens } = result.output;
  const { temperature, top_p, stop_sequences } = result.output;
  // In Converse, only Claude's own field for the choice has this limit.
  const isSingle = tool_choice?.['disable_parallel_tool_use'] === true;
  const fields = { ...(isSingle && { tool_choice }), ...(thinking && { thinking }) };
  return {
    messages: mergeTurns(messages),
    ...(system && system.length > 0 && { system: system.flatMap(toBlock) }),
    inferenceConfig: { maxTokens: max_tokens, temperature, topP: top_p, stopSequences: stop_sequences },
    ...(tools &&
      tools.length > 0 && {
        toolConfig: { tools: tools.flatMap(toTools), ...(isSingle ? {} : toChoice(tool_choice)) },
      }),
    ...(output_config && { outputConfig: output_config }),
    ...(Object.keys(fields).length > 0 && { additionalModelRequestFields: fields }),
  };
}

/** Merges consecutive messages of one role into one turn, as Claude does. */
function mergeTurns(messages: NativeBody['messages']) {
  const turns: { role: string; content: object[] }[] = [];
  for (const { role: given, content } of messages) {
    const role = given === 'assistant' ? 'assistant' : 'user';
    const last = turns.at(-1);
    const blocks = content.flatMap(toBlock);
    if (last?.role === role) last.content.push(...blocks);
    else turns.push({ role, content: blocks });
  }
  return turns;
}

function toBlock(block: Content): object[] {
  switch (block.type) {
    case 'text':
      return [{ text: block.text }, ...toPoint(block)];
    case 'tool_use':
      return [{ toolUse: { toolUseId: block.id, name: block.name, input: block.input } }, ...toPoint(block)];
    case 'tool_result': {
      const parts =
        typeof block.content === 'string'
          ? [{ text: block.content }]
          : (block.content ?? []).flatMap((part) => toBlock({ ...part, cache_control: undefined }));
      return [{ toolResult: { toolUseId: block.tool_use_id, content: parts } }, ...toPoint(block)];
    }
    case 'thinking':
      return [{ reasoningContent: { reasoningText: { text: block.thinking, signature: block.signature } } }];
    case 'redacted_thinking':
      return [{ reasoningContent: { redactedContent: block.data } }];
    default:
      // Converse has rules for media that Claude's own API doesn't, such as a text beside each document.
      return [{ text: `[${block.type}]` }, ...toPoint(block)];
  }
}

function toTools(tool: NonNullable<NativeBody['tools']>[number]): object[] {
  const { name, description, input_schema, cache_control } = tool;
  const spec = { name, description, inputSchema: { json: { type: 'object', ...input_schema } } };
  return [{ toolSpec: spec }, ...toPoint({ cache_control })];
}

function toPoint({ cache_control: control }: { readonly cache_control?: v.InferOutput<typeof mark> }): object[] {
  return control === undefined ? [] : [{ cachePoint: { type: 'default', ...(control.ttl && { ttl: control.ttl }) } }];
}

function toChoice(choice: NativeBody['tool_choice']) {
  if (choice?.type === 'any') return { toolChoice: { any: {} } };
  return choice?.type === 'tool' ? { toolChoice: { tool: { name: choice.name } } } : {};
}

/** Returns a responder whose answers have the format of Claude's own API. */
export function respondNatively(respond: Responder): Responder {
  return async function* (call) {
    const events: ConverseStreamOutput[] = [];
    const encoder = new NativeEncoder(call.modelId);
    for await (const frame of respond(call)) {
      if (frame.type !== 'event') yield frame;
      else if (call.streamed) yield* encoder.encode(frame.event);
      else events.push(frame.event);
    }
    if (call.streamed) yield* encoder.end();
    else if (events.length > 0)
      yield { type: 'bytes', bytes: Buffer.from(encodeJson(toMessage(call.modelId, events))) };
  };
}

const STOP_REASONS: Readonly<Record<string, string>> = { guardrail_intervened: 'refusal', content_filtered: 'refusal' };

/** A block of a Converse response. */
interface NativeSource {
  readonly text?: string;
  readonly toolUse?: { readonly toolUseId: string; readonly name: string; readonly input: unknown };
  readonly reasoningContent?: { readonly reasoningText?: { readonly text: string; readonly signature?: string } };
}

function toMessage(model: string, events: readonly ConverseStreamOutput[]): object {
  const { output, stopReason, usage } = buildConverseResponse(events) as {
    output: {
      message: { content: NativeSource[] };
    };
    stopReason: string;
    usage: TokenUsage;
  };
  const content = output.message.content.map(({ text = '', toolUse, reasoningContent }) => {
    if (toolUse) return { type: 'tool_use', id: toolUse.toolUseId, name: toolUse.name, input: toolUse.input };
    const thinking = reasoningContent?.reasoningText;
    return thinking
      ? { type: 'thinking', thinking: thinking.text, signature: thinking.signature ?? '' }
      : { type: 'text', text };
  });
  return {
    ...createMessage(model),
    content,
    stop_reason: STOP_REASONS[stopReason] ?? stopReason,
    usage: toNativeUsage(usage),
  };
}

function createMessage(model: string) {
  const usage = { input_tokens: 0, output_tokens: 0 };
  const ends = { stop_reason: null, stop_sequence: null };
  return { id: 'msg_bdrk_1', type: 'message', role: 'assistant', model, content: [], ...ends, usage };
}

function toNativeUsage(usage: TokenUsage): object {
  const { inputTokens = 0, outputTokens = 0, cacheReadInputTokens, cacheWriteInputTokens, cacheDetails = [] } = usage;
  const countWritten = (ttl: string) => cacheDetails.find((each) => each.ttl === ttl)?.inputTokens ?? 0;
  return {
    input_tokens: inputTokens,
    output_tokens: outputTokens,
    ...(cacheReadInputTokens !== undefined && {
      cache_read_input_tokens: cacheReadInputTokens,
      cache_creation_input_tokens: cacheWriteInputTokens,
      cache_creation: {
        ephemeral_5m_input_tokens: countWritten('5m'),
        ephemeral_1h_input_tokens: countWritten('1h'),
      },
    }),
  };
}

/** Converts the events of ConverseStream to those of Claude's own API, in InvokeModel's chunks. */
class NativeEncoder {
  readonly #model: string;
  readonly #open = new Set<number>();
  #stopReason = 'end_turn';
  #usage: object = { input_tokens: 0, output_tokens: 0 };

  constructor(model: string) {
    this.#model = model;
  }

  *encode(event: ConverseStreamOutput): Generator<Frame> {
    if (event.messageStart) yield toChunk({ type: 'message_start', message: createMessage(this.#model) });
    const start = event.contentBlockStart;
    const tool = start?.start?.toolUse;
    if (tool)
      yield this.#begin(start.contentBlockIndex ?? 0, {
        type: 'tool_use',
        id: tool.toolUseId,
        name: tool.name,
        input: {},
      });
    const delta = event.contentBlockDelta;
    if (delta) {
      const index = delta.contentBlockIndex ?? 0;
      const isThinking = delta.delta?.reasoningContent !== undefined;
      const empty = isThinking ? { type: 'thinking', thinking: '', signature: '' } : { type: 'text', text: '' };
      if (!this.#open.has(index)) yield this.#begin(index, empty);
      if (delta.delta) yield toChunk({ type: 'content_block_delta', index, delta: toNativeDelta(delta.delta) });
    }
    if (event.contentBlockStop)
      yield toChunk({ type: 'content_block_stop', index: event.contentBlockStop.contentBlockIndex ?? 0 });
    const stop = event.messageStop?.stopReason;
    if (stop !== undefined) this.#stopReason = STOP_REASONS[stop] ?? stop;
    const usage = event.metadata?.usage;
    if (usage) this.#usage = toNativeUsage(usage);
  }

  *end(): Generator<Frame> {
    const delta = { stop_reason: this.#stopReason, stop_sequence: null };
    yield toChunk({ type: 'message_delta', delta, usage: this.#usage });
    yield toChunk({ type: 'message_stop', 'amazon-bedrock-invocationMetrics': { inputTokenCount: 0 } });
  }

  #begin(index: number, content_block: object): Frame {
    this.#open.add(index);
    return toChunk({ type: 'content_block_start', index, content_block });
  }
}

function toNativeDelta({ text = '', toolUse, reasoningContent: thinking }: ContentBlockDelta): object {
  if (toolUse) return { type: 'input_json_delta', partial_json: toolUse.input };
  if (thinking?.signature !== undefined) return { type: 'signature_delta', signature: thinking.signature };
  return thinking ? { type: 'thinking_delta', thinking: thinking.text } : { type: 'text_delta', text };
}

function toChunk(event: object): Frame {
  return { type: 'bytes', bytes: encodeRawEvent('chunk', { bytes: Buffer.from(JSON.stringify(event)) }) };
}
