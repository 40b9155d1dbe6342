import type {
  ContentBlockDelta,
  ConverseCommandOutput,
  ConverseStreamOutput,
  ReasoningContentBlockDelta,
  TokenUsage,
} from '@aws-sdk/client-bedrock-runtime';
import { omitUndefined } from '../../../core/objects.ts';
import type { FinishReason, GenerationEvent, ServiceTier, Usage } from '../../generation.ts';
import { toFinishReason } from '../../message-ending.ts';
import { UpstreamError } from '../../model.ts';
import { incompleteStreamError } from './errors.ts';
import type { BedrockFamily } from './family.ts';
import { packReasoning } from './reasoning.ts';

interface AnswerOptions {
  readonly family: BedrockFamily['name'];
  /** Name of the tool whose arguments are the text of the answer. */
  readonly answerTool: string | undefined;
  /** The request's stop sequences. */
  readonly stop: readonly string[];
}

type Block =
  | { readonly kind: 'reasoning'; text: string; signature: string; redacted: Uint8Array }
  /** `index` is the number of the call in the answer; absent for the tool whose arguments are the answer's text. */
  | { readonly kind: 'tool'; readonly index: number | undefined; hasArguments: boolean };

/** Converts the stream events of one Converse answer to generation events. */
export class BedrockAnswerReader {
  readonly #options: AnswerOptions;
  readonly #blocks = new Map<number, Block>();
  #toolCalls = 0;
  #stopReason: string | undefined;
  #usage: Usage | undefined;
  #serviceTier: ServiceTier | undefined;

  constructor(options: AnswerOptions) {
    this.#options = options;
  }

  /** True after the model reported its stop reason; only the usage may still follow. */
  get stopped(): boolean {
    return this.#stopReason !== undefined;
  }

  /**
   * Converts one stream event.
   * @throws UpstreamError `upstream_malformed` if Bedrock could not parse the model's output
   */
  *read(event: ConverseStreamOutput): Generator<GenerationEvent> {
    if (event.contentBlockStart) {
      const { contentBlockIndex = 0, start } = event.contentBlockStart;
      if (start?.toolUse) yield* this.#startTool(contentBlockIndex, start.toolUse);
    } else if (event.contentBlockDelta) {
      const { contentBlockIndex = 0, delta } = event.contentBlockDelta;
      if (delta) yield* this.#readDelta(contentBlockIndex, delta);
    } else if (event.contentBlockStop) {
      yield* this.#stopBlock(event.contentBlockStop.contentBlockIndex ?? 0);
    } else if (event.messageStop) {
      // Some models don't end their last block.
      for (const index of [...this.#blocks.keys()]) yield* this.#stopBlock(index);
      this.#stopReason = event.messageStop.stopReason ?? 'end_turn';
      throwIfMalformed(this.#stopReason);
    } else if (event.metadata) {
      this.#usage = toUsage(event.metadata.usage);
      this.#serviceTier = toServiceTier(event.metadata.serviceTier?.type);
    }
  }

  /**
   * Returns the last event.
   * @throws UpstreamError `upstream_cut` if the model didn't report a stop reason
   */
  finish(): GenerationEvent {
    if (this.#stopReason === undefined) throw incompleteStreamError();
    return {
      type: 'finish',
      reason: this.#resolveFinishReason(this.#stopReason),
      usage: this.#usage,
      ...omitUndefined({ serviceTier: this.#serviceTier, stopSequence: this.#findStopSequence() }),
    };
  }

  /** Returns the stop sequence that ended the answer. Converse reports only that one did. */
  #findStopSequence(): string | undefined {
    const { stop } = this.#options;
    return this.#stopReason === 'stop_sequence' && stop.length === 1 ? stop[0] : undefined;
  }

  #resolveFinishReason(stopReason: string): FinishReason {
    const reason = toFinishReason(stopReason);
    // Some models end with end_turn after tool calls. A call of the answer tool is text, not a tool call.
    if (reason === 'stop' || reason === 'toolCalls') return this.#toolCalls > 0 ? 'toolCalls' : 'stop';
    return reason;
  }

  *#startTool(
    blockIndex: number,
    {
      toolUseId = '',
      name = '',
      type,
    }: { toolUseId?: string | undefined; name?: string | undefined; type?: string | undefined },
  ): Generator<GenerationEvent> {
    // The provider ran this tool itself (web search), so the caller has no call to answer.
    if (type === 'server_tool_use') return;
    if (name === this.#options.answerTool) {
      this.#blocks.set(blockIndex, { kind: 'tool', index: undefined, hasArguments: false });
      return;
    }
    const index = this.#toolCalls++;
    this.#blocks.set(blockIndex, { kind: 'tool', index, hasArguments: false });
    yield { type: 'toolCall', index, id: toolUseId, name };
  }

  *#readDelta(blockIndex: number, delta: ContentBlockDelta): Generator<GenerationEvent> {
    if (delta.text) yield { type: 'text', text: delta.text };
    else if (delta.toolUse?.input) yield* this.#readArguments(blockIndex, delta.toolUse.input);
    else if (delta.reasoningContent) yield* this.#readReasoning(blockIndex, delta.reasoningContent);
  }

  *#readArguments(blockIndex: number, fragment: string): Generator<GenerationEvent> {
    const block = this.#blocks.get(blockIndex);
    if (block?.kind !== 'tool') return;
    block.hasArguments = true;
    if (block.index === undefined) yield { type: 'text', text: fragment };
    else yield { type: 'toolArguments', index: block.index, fragment };
  }

  *#readReasoning(blockIndex: number, delta: ReasoningContentBlockDelta): Generator<GenerationEvent> {
    let block = this.#blocks.get(blockIndex);
    if (block?.kind !== 'reasoning') {
      block = { kind: 'reasoning', text: '', signature: '', redacted: new Uint8Array() };
      this.#blocks.set(blockIndex, block);
    }
    block.signature += delta.signature ?? '';
    if (delta.redactedContent) block.redacted = Buffer.concat([block.redacted, delta.redactedContent]);
    if (delta.text) {
      block.text += delta.text;
      yield { type: 'reasoning', text: delta.text };
    }
  }

  *#stopBlock(blockIndex: number): Generator<GenerationEvent> {
    const block = this.#blocks.get(blockIndex);
    this.#blocks.delete(blockIndex);
    if (block?.kind === 'reasoning') {
      const continuation = packReasoning(this.#options.family, block);
      yield { type: 'reasoningEnd', ...(continuation && { continuation }) };
    } else if (block?.kind === 'tool' && !block.hasArguments) {
      // Clients parse arguments as JSON, so a call without any gets an empty object.
      if (block.index === undefined) yield { type: 'text', text: '{}' };
      else yield { type: 'toolArguments', index: block.index, fragment: '{}' };
    }
  }
}

/**
 * Converts a buffered answer to the equivalent stream events, so that one translation serves both.
 * @param inputs the inputs of its tool calls, as JSON text
 */
export function* toStreamEvents(
  answer: ConverseCommandOutput,
  inputs: readonly string[],
): Generator<ConverseStreamOutput> {
  const content = answer.output?.message?.content ?? [];
  const remaining = [...inputs];
  for (const [contentBlockIndex, block] of content.entries()) {
    if (block.toolUse) {
      const { toolUseId, name, type } = block.toolUse;
      const input = remaining.shift() ?? '{}';
      yield { contentBlockStart: { contentBlockIndex, start: { toolUse: { toolUseId, name, type } } } };
      yield { contentBlockDelta: { contentBlockIndex, delta: { toolUse: { input } } } };
    }
    for (const delta of toDeltas(block)) yield { contentBlockDelta: { contentBlockIndex, delta } };
    yield { contentBlockStop: { contentBlockIndex } };
  }
  yield { messageStop: { stopReason: answer.stopReason } };
  yield { metadata: { usage: answer.usage, metrics: undefined, serviceTier: answer.serviceTier } };
}

type ContentBlock = NonNullable<
  NonNullable<NonNullable<ConverseCommandOutput['output']>['message']>['content']
>[number];

function toDeltas(block: ContentBlock): ContentBlockDelta[] {
  if (block.text) return [{ text: block.text }];
  if (block.citationsContent) {
    return (block.citationsContent.content ?? []).flatMap(({ text }) => (text ? [{ text }] : []));
  }
  const reasoning = block.reasoningContent;
  if (reasoning?.redactedContent) return [{ reasoningContent: { redactedContent: reasoning.redactedContent } }];
  if (!reasoning?.reasoningText) return [];
  const { text = '', signature } = reasoning.reasoningText;
  return [{ reasoningContent: { text } }, ...(signature ? [{ reasoningContent: { signature } }] : [])];
}

/** Throws if Bedrock could not parse the model's output. The answer is unusable, and a retry may succeed. */
function throwIfMalformed(stopReason: string): void {
  if (stopReason !== 'malformed_model_output' && stopReason !== 'malformed_tool_use') return;
  throw new UpstreamError('upstream_malformed', `Bedrock could not parse the model's output (${stopReason})`, {
    recovery: 'retryOnce',
    upstream: stopReason,
  });
}

/** Converts token counts. Converse counts cached input (read or written) separately; OpenAI counts it as input. */
function toUsage(usage: TokenUsage | undefined): Usage | undefined {
  if (usage?.inputTokens === undefined) return undefined;
  const cachedInputTokens = usage.cacheReadInputTokens ?? 0;
  const hourWrites = usage.cacheDetails?.find(({ ttl }) => ttl === '1h')?.inputTokens;
  return {
    inputTokens: usage.inputTokens + cachedInputTokens + (usage.cacheWriteInputTokens ?? 0),
    cachedInputTokens,
    ...omitUndefined({ cacheWriteTokens: usage.cacheWriteInputTokens, hourCacheWriteTokens: hourWrites }),
    outputTokens: usage.outputTokens ?? 0,
    // Converse includes them in outputTokens and doesn't report their number.
    reasoningTokens: 0,
  };
}

/** Returns the tier that Bedrock reports, or undefined for one that has no price of its own. */
export function toServiceTier(type: string | undefined): ServiceTier | undefined {
  return type === 'default' || type === 'flex' || type === 'priority' ? type : undefined;
}
