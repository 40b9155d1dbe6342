import type {
  ContentBlockDelta,
  ConverseCommandOutput,
  ConverseStreamOutput,
  ReasoningContentBlockDelta,
  TokenUsage,
} from '@aws-sdk/client-bedrock-runtime';
import type { FinishReason, GenerationEvent, ServiceTier, Usage } from '../../generation.ts';
import { UpstreamError } from '../../model.ts';
import { incompleteStreamError } from './errors.ts';
import type { BedrockFamily } from './family.ts';
import { packReasoning } from './reasoning.ts';

interface AnswerOptions {
  readonly family: BedrockFamily['name'];
  /** The tool whose arguments are the answer's text. */
  readonly answerTool: string | undefined;
}

type Block =
  | { readonly kind: 'reasoning'; text: string; signature: string; redacted: Uint8Array }
  /** `index` is the call's number in the answer; absent for the tool whose arguments are the answer's text. */
  | { readonly kind: 'tool'; readonly index: number | undefined; written: boolean };

/**
 * Turns Converse's stream events, one by one, into ours. One instance serves one answer.
 */
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

  /** Whether the model said that it was done; only the usage may still be missing. */
  get stopped(): boolean {
    return this.#stopReason !== undefined;
  }

  /** @throws UpstreamError `upstream_malformed` when the model's output made no sense to Bedrock itself */
  *read(event: ConverseStreamOutput): Generator<GenerationEvent> {
    if (event.contentBlockStart) {
      const { contentBlockIndex = 0, start } = event.contentBlockStart;
      if (start?.toolUse) yield* this.#startTool(contentBlockIndex, start.toolUse);
    } else if (event.contentBlockDelta) {
      const { contentBlockIndex = 0, delta } = event.contentBlockDelta;
      if (delta) yield* this.#delta(contentBlockIndex, delta);
    } else if (event.contentBlockStop) {
      yield* this.#stopBlock(event.contentBlockStop.contentBlockIndex ?? 0);
    } else if (event.messageStop) {
      // Some models never close their last block.
      for (const index of [...this.#blocks.keys()]) yield* this.#stopBlock(index);
      this.#stopReason = event.messageStop.stopReason ?? 'end_turn';
      throwIfMalformed(this.#stopReason);
    } else if (event.metadata) {
      this.#usage = toUsage(event.metadata.usage);
      this.#serviceTier = toServiceTier(event.metadata.serviceTier?.type);
    }
  }

  /**
   * The last event.
   * @throws UpstreamError `upstream_cut` when the model never said that it was done
   */
  finish(): GenerationEvent {
    if (this.#stopReason === undefined) throw incompleteStreamError();
    return {
      type: 'finish',
      reason: this.#finishReason(this.#stopReason),
      usage: this.#usage,
      ...(this.#serviceTier && { serviceTier: this.#serviceTier }),
    };
  }

  #finishReason(stopReason: string): FinishReason {
    const reason = toFinishReason(stopReason);
    // Some models end with end_turn after calling tools; and JSON asked for as a tool is an answer, not a call.
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
    // A tool that ran at the provider (web search): its call is not the caller's to answer.
    if (type === 'server_tool_use') return;
    if (name === this.#options.answerTool) {
      this.#blocks.set(blockIndex, { kind: 'tool', index: undefined, written: false });
      return;
    }
    const index = this.#toolCalls++;
    this.#blocks.set(blockIndex, { kind: 'tool', index, written: false });
    yield { type: 'toolCall', index, id: toolUseId, name };
  }

  *#delta(blockIndex: number, delta: ContentBlockDelta): Generator<GenerationEvent> {
    if (delta.text) yield { type: 'text', text: delta.text };
    else if (delta.toolUse?.input) yield* this.#arguments(blockIndex, delta.toolUse.input);
    else if (delta.reasoningContent) yield* this.#reasoning(blockIndex, delta.reasoningContent);
  }

  *#arguments(blockIndex: number, fragment: string): Generator<GenerationEvent> {
    const block = this.#blocks.get(blockIndex);
    if (block?.kind !== 'tool') return;
    block.written = true;
    if (block.index === undefined) yield { type: 'text', text: fragment };
    else yield { type: 'toolArguments', index: block.index, fragment };
  }

  *#reasoning(blockIndex: number, delta: ReasoningContentBlockDelta): Generator<GenerationEvent> {
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
    } else if (block?.kind === 'tool' && !block.written) {
      // A call without arguments streams none, but clients parse them as JSON.
      if (block.index === undefined) yield { type: 'text', text: '{}' };
      else yield { type: 'toolArguments', index: block.index, fragment: '{}' };
    }
  }
}

/** The stream events that would have made a buffered answer, so that one translation serves both. */
export function* toStreamEvents(answer: ConverseCommandOutput): Generator<ConverseStreamOutput> {
  const content = answer.output?.message?.content ?? [];
  for (const [contentBlockIndex, block] of content.entries()) {
    if (block.toolUse) {
      const { toolUseId, name, type, input } = block.toolUse;
      yield { contentBlockStart: { contentBlockIndex, start: { toolUse: { toolUseId, name, type } } } };
      yield { contentBlockDelta: { contentBlockIndex, delta: { toolUse: { input: stringifyDocument(input ?? {}) } } } };
    }
    for (const delta of toDeltas(block)) yield { contentBlockDelta: { contentBlockIndex, delta } };
    yield { contentBlockStop: { contentBlockIndex } };
  }
  yield { messageStop: { stopReason: answer.stopReason } };
  yield { metadata: { usage: answer.usage, metrics: undefined, serviceTier: answer.serviceTier } };
}

/**
 * The JSON that the SDK read a document from. It keeps numbers that JavaScript would round as bigints, or as objects of
 * its own whose text is the number; nothing else in a document is an object with a class.
 */
function stringifyDocument(value: unknown): string {
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `[${value.map(stringifyDocument).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  if (Object.getPrototypeOf(value) !== Object.prototype) return String(value);
  const members = Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${stringifyDocument(member)}`);
  return `{${members.join(',')}}`;
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

function toFinishReason(stopReason: string): FinishReason {
  switch (stopReason) {
    case 'tool_use':
      return 'toolCalls';
    case 'max_tokens':
    // The answer ran into the end of the context window: cut for length, whichever length it was.
    case 'model_context_window_exceeded':
      return 'length';
    case 'guardrail_intervened':
    case 'content_filtered':
    // Claude's own classifiers stopped it.
    case 'refusal':
      return 'contentFilter';
    default:
      return 'stop';
  }
}

/** The model wrote something that Bedrock could not read: another try may do better, what came is no answer. */
function throwIfMalformed(stopReason: string): void {
  if (stopReason !== 'malformed_model_output' && stopReason !== 'malformed_tool_use') return;
  throw new UpstreamError('upstream_malformed', `Bedrock could not read the model's output (${stopReason})`, {
    recovery: 'retryOnce',
    upstream: stopReason,
  });
}

/** Converse counts the input that was read from, or written to, the cache apart from the rest; OpenAI counts all. */
function toUsage(usage: TokenUsage | undefined): Usage | undefined {
  if (usage?.inputTokens === undefined) return undefined;
  const cachedInputTokens = usage.cacheReadInputTokens ?? 0;
  return {
    inputTokens: usage.inputTokens + cachedInputTokens + (usage.cacheWriteInputTokens ?? 0),
    cachedInputTokens,
    outputTokens: usage.outputTokens ?? 0,
    // Counted within outputTokens; Converse doesn't say how many there were.
    reasoningTokens: 0,
  };
}

function toServiceTier(type: string | undefined): ServiceTier | undefined {
  return type === 'default' || type === 'flex' || type === 'priority' ? type : undefined;
}
