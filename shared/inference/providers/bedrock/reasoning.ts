import type { ConverseStreamCommandInput, ReasoningContentBlock } from '@aws-sdk/client-bedrock-runtime';
import { createThinkingContinuation } from '../../claude-thinking.ts';
import type { Continuation, GenerationRequest, Message, ReasoningEffort, ReasoningPart } from '../../generation.ts';
import type { BedrockTarget } from '../../registry.ts';
import { type BedrockFamily, detectFamily, parseClaudeVersion, type ReasoningStyle } from './family.ts';
import { invalidValueError } from './value-errors.ts';

/** The parts of a Converse call that control how much the model thinks. */
export interface ReasoningPlan {
  /** True if the model will think. Then Claude's sampling is fixed, and earlier reasoning is sent back. */
  readonly on: boolean;
  /** For `additionalModelRequestFields`. */
  readonly fields: Readonly<Record<string, Json>>;
  /** For `outputConfig.effort`. */
  readonly effort: string | undefined;
  /** False if the model refuses an output limit with this effort. */
  readonly sendsMaxTokens: boolean;
}

type Json = NonNullable<ConverseStreamCommandInput['additionalModelRequestFields']>;
type Effort = Exclude<ReasoningEffort, 'none'>;

const OFF: ReasoningPlan = { on: false, fields: {}, effort: undefined, sendsMaxTokens: true };

/**
 * Converts `reasoningEffort` to the parameters of the model family.
 * @param maxTokens the output limit of the call, or undefined if it isn't known
 * @param forcesTool true if the call forces the model to use a tool
 */
export function planReasoning(
  request: GenerationRequest,
  target: BedrockTarget,
  maxTokens: number | undefined,
  forcesTool: boolean,
): ReasoningPlan {
  const family = detectFamily(target.model);
  const style = target.reasoning ?? family.reasoning;
  const effort = request.reasoningEffort;
  if (style === undefined) return OFF;
  // Claude refuses to think if a tool is forced.
  if (effort === 'none' || (forcesTool && style.style.startsWith('anthropic'))) {
    return disableReasoning(style, target.model);
  }
  if (effort === undefined) return { ...OFF, on: thinksByDefault(target.model) };
  switch (style.style) {
    case 'anthropic-budget':
      return planBudget(request.reasoningBudget ?? chooseBudget(style, effort), maxTokens, request.messages);
    case 'anthropic-adaptive':
      return planAdaptive(effort, target.model, request.reasoningSummary);
    case 'openai-effort':
      return planOpenAIEffort(effort, target.model);
    case 'nova-effort':
      return planNovaEffort(effort, request);
  }
}

/** True for Claude 5 and later and for OpenAI's models: they think unless it is disabled. */
function thinksByDefault(model: string): boolean {
  return parseClaudeVersion(model) >= 500 || model.includes('openai.');
}

function disableReasoning({ style }: ReasoningStyle, model: string): ReasoningPlan {
  if (style === 'openai-effort' && !model.includes('gpt-oss')) {
    return { ...OFF, fields: { reasoning: { effort: 'none' } } };
  }
  if (!thinksByDefault(model)) return OFF;
  // Fable, Mythos and gpt-oss always think, and refuse a request to disable it.
  if (/fable|mythos|openai\./.test(model)) return { ...OFF, on: true };
  return { ...OFF, fields: { thinking: { type: 'disabled' } } };
}

/** Claude's minimum for `budget_tokens`. */
const MINIMUM_BUDGET = 1_024;

function chooseBudget({ budgets }: Extract<ReasoningStyle, { style: 'anthropic-budget' }>, effort: Effort): number {
  return budgets[effort === 'minimal' || effort === 'low' ? 'low' : effort === 'medium' ? 'medium' : 'high'];
}

/** @param wanted the number of tokens for thinking */
function planBudget(wanted: number, maxTokens: number | undefined, messages: readonly Message[]): ReasoningPlan {
  // Claude requires that an unfinished turn begins with its signed thinking. If the caller dropped it (chat completions
  // have no field for it), the model can't think until the next turn.
  if (lacksTurnReasoning(messages)) return OFF;
  // The budget counts towards the output limit, so a quarter is reserved for the answer itself.
  const budget = maxTokens === undefined ? wanted : Math.min(wanted, Math.floor(maxTokens * 0.75));
  if (budget < MINIMUM_BUDGET) return OFF;
  return { ...OFF, on: true, fields: { thinking: { type: 'enabled', budget_tokens: budget } } };
}

/** True if the last turn of the model called tools and doesn't begin with its reasoning. */
function lacksTurnReasoning(messages: readonly Message[]): boolean {
  // Instructions go to the front, and blank messages are dropped: they end no turn.
  const sent = messages.filter(({ role, content }) => role === 'tool' || (role !== 'system' && content.some(isSent)));
  const last = sent.findLastIndex(({ role }) => role === 'assistant');
  const first = sent.findLastIndex(({ role }, index) => index < last && role !== 'assistant') + 1;
  const turn = sent.slice(first, last + 1).flatMap((message) => (message.role === 'assistant' ? message.content : []));
  if (!turn.some(({ type }) => type === 'toolCall')) return false;
  const start = turn.find(isSent);
  return start?.type !== 'reasoning' || !unpackReasoning(start, 'claude', 'messages');
}

function isSent(part: Message['content'][number]): boolean {
  return !('text' in part) || part.type === 'reasoning' || part.text.trim() !== '';
}

function planAdaptive(effort: Effort, model: string, summarized: boolean): ReasoningPlan {
  // From version 4.7 on, Claude omits the text of its thinking unless it is requested.
  const display = summarized && parseClaudeVersion(model) >= 407 ? { display: 'summarized' } : {};
  const known = effort === 'minimal' ? 'low' : effort === 'xhigh' && parseClaudeVersion(model) < 407 ? 'high' : effort;
  return { ...OFF, on: true, fields: { thinking: { type: 'adaptive', ...display } }, effort: known };
}

function planOpenAIEffort(effort: Effort, model: string): ReasoningPlan {
  // gpt-oss expects the flat field of chat completions and three levels; newer models the nested field of responses.
  if (!model.includes('gpt-oss')) {
    return { ...OFF, on: true, fields: { reasoning: { effort: effort === 'minimal' ? 'low' : effort } } };
  }
  return { ...OFF, on: true, fields: { reasoning_effort: toThreeLevels(effort) } };
}

function planNovaEffort(effort: Effort, request: GenerationRequest): ReasoningPlan {
  // At high effort, Nova refuses an output limit, which every request of the Messages API has, and sampling parameters.
  // They count more than the effort, which is a preference.
  const isLimited = [request.maxOutputTokens, request.temperature, request.topP].some((value) => value !== undefined);
  const wanted = toThreeLevels(effort);
  const level = wanted === 'high' && isLimited ? 'medium' : wanted;
  return {
    ...OFF,
    on: true,
    fields: { reasoningConfig: { type: 'enabled', maxReasoningEffort: level } },
    sendsMaxTokens: level !== 'high',
  };
}

function toThreeLevels(effort: Effort): 'low' | 'medium' | 'high' {
  if (effort === 'minimal' || effort === 'low') return 'low';
  return effort === 'medium' ? 'medium' : 'high';
}

/**
 * Packs a finished block of reasoning, so that the caller can send it back. Returns undefined for a block that is
 * neither signed nor redacted, because the model doesn't need it back.
 */
export function packReasoning(
  family: BedrockFamily['name'],
  block: { text: string; signature: string; redacted: Uint8Array },
): Continuation | undefined {
  if (block.redacted.length > 0) {
    return { provider: 'bedrock', data: { family, redacted: Buffer.from(block.redacted).toString('base64') } };
  }
  if (block.signature === '') return undefined;
  if (family === 'claude') return createThinkingContinuation(block.text, block.signature);
  return { provider: 'bedrock', data: { family, text: block.text, signature: block.signature } };
}

/**
 * Unpacks reasoning that `packReasoning` packed. Returns undefined for reasoning of another provider or model family,
 * which is not sent.
 * @throws UpstreamError `invalid_value` for data that `packReasoning` can't have made. The model verifies the signature
 */
export function unpackReasoning(
  part: ReasoningPart,
  family: BedrockFamily['name'],
  param: string,
): ReasoningContentBlock | undefined {
  if (part.continuation?.provider !== 'bedrock') return undefined;
  const { data } = part.continuation;
  if (typeof data !== 'object' || data === null) throw tamperedReasoningError(param);
  if (!('family' in data) || data.family !== family) return undefined;
  if ('redacted' in data && typeof data.redacted === 'string') {
    return { redactedContent: Uint8Array.from(Buffer.from(data.redacted, 'base64')) };
  }
  if ('signature' in data && 'text' in data && typeof data.signature === 'string' && typeof data.text === 'string') {
    return { reasoningText: { text: data.text, signature: data.signature } };
  }
  throw tamperedReasoningError(param);
}

function tamperedReasoningError(param: string): Error {
  return invalidValueError(param, 'its reasoning was not issued by this service');
}
