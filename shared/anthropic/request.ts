import { isObject } from '../core/objects.ts';
import { listIgnoredBetas } from '../inference/claude-betas.ts';
import type { GenerationRequest, OriginalRequest, OutputFormat, ReasoningEffort } from '../inference/generation.ts';
import { getAliasLimits } from '../inference/model-limits.ts';
import { estimatePromptTokens } from '../inference/prompt-tokens.ts';
import { type Alias, type ModelRegistry, resolveModel } from '../inference/registry.ts';
import type { SchemaLimit } from '../limits/schema-limits.ts';
import { deriveConversationKey } from '../wire/conversation-key.ts';
import { checkSchemas } from '../wire/json-schema.ts';
import { selectOriginalFields } from '../wire/original-fields.ts';
import { findSession } from '../wire/session.ts';
import { type AppliedEdit, applyEdits, type EditPlan, planEdits } from './context-edits.ts';
import { translateMessages } from './messages.ts';
import { toAnthropicTools } from './openai-tools.ts';
import { countTokensSchema, type MessagesBody, messagesParameters, messagesRequestSchema } from './schema.ts';
import { translateTools } from './tools.ts';
import { invalidRequestError, validate } from './validation.ts';

/** The inputs of the parser, except for the body. */
export interface ParseContext {
  readonly registry: ModelRegistry;
  readonly tenant: string;
  /** The request's headers, with names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The limits of the caller's policy on schemas. */
  readonly schemaLimits?: readonly SchemaLimit[];
}

/** A parsed request and how to encode its answer. */
export interface MessagesRequest {
  readonly generation: GenerationRequest;
  readonly streamed: boolean;
  /** The model's name as the caller wrote it. */
  readonly model: string;
  /** The parameters that have no effect. */
  readonly ignored: readonly string[];
  /** What `context_management` removed. Undefined if the request doesn't have it. */
  readonly appliedEdits: readonly AppliedEdit[] | undefined;
}

/**
 * Parses the body of `POST /v1/messages`.
 * @throws LambentError with status 400 or 404 for any JSON value that is not a valid request
 */
export function parseMessagesRequest(original: unknown, context: ParseContext): MessagesRequest {
  const body = toAnthropicTools(original);
  return toRequest(validate(messagesRequestSchema, body), body, context);
}

/**
 * Parses the body of `POST /v1/messages/count_tokens`, which is that of a message without a limit.
 * @throws LambentError as `parseMessagesRequest`
 */
export function parseCountTokensRequest(original: unknown, context: ParseContext): MessagesRequest {
  const body = toAnthropicTools(original);
  return toRequest(validate(countTokensSchema, body), body, context);
}

/**
 * Refuses threads, in which a client sends only the messages that are new: ignoring `thread` would answer without the
 * earlier ones. By this error, Anthropic's SDKs send the whole conversation instead.
 */
function checkThread(body: unknown): void {
  if (isObject(body) && body['thread'] != null) {
    throw invalidRequestError('thread', 'Message threads are not supported', 'unsupported_parameter');
  }
}

function toRequest(
  body: MessagesBody,
  original: unknown,
  { registry, tenant, headers, schemaLimits }: ParseContext,
): MessagesRequest {
  checkThread(original);
  const { name, alias } = resolveModel(body.model, registry);
  checkLimit(body.max_tokens, alias);
  const tools = translateTools(body, alias, original, schemaLimits);
  const format = toOutputFormat(body, schemaLimits);
  const whole = translateMessages(body, registry);
  const plan = planEdits(body, () => estimatePromptTokens({ messages: whole.messages, tools: tools.tools, format }));
  const edited = plan === undefined ? body : { ...body, messages: applyEdits(body.messages, plan) };
  const { messages, ignored } = plan === undefined ? whole : translateMessages(edited, registry);
  const betas = readBetas(headers['anthropic-beta']);
  const session = findSession(headers) ?? findUserSession(body.metadata?.user_id);
  return {
    streamed: body.stream ?? false,
    model: body.model,
    ignored: [
      ...listUnknown(original),
      ...tools.ignored,
      ...tools.serverSearches,
      ...ignored,
      ...listIgnoredBetas(betas, []),
    ],
    appliedEdits: body.context_management?.edits == null ? undefined : (plan?.applied ?? []),
    generation: {
      tenant,
      model: name,
      messages,
      tools: tools.tools,
      toolChoice: tools.toolChoice,
      ...omitNullish({ hostedTools: tools.hostedTools }),
      parallelToolCalls: tools.parallelToolCalls,
      format,
      maxOutputTokens: body.max_tokens,
      ...omitNullish({ temperature: body.temperature, topP: body.top_p, topK: body.top_k || undefined }),
      stop: body.stop_sequences ?? [],
      ...toReasoning(body),
      ...(body.service_tier === 'standard_only' && { serviceTier: 'default' }),
      conversationKey: deriveConversationKey(tenant, session, messages),
      ...(session !== undefined && { inSession: true }),
      hints: omitNullish({ user: body.metadata?.user_id }),
      unknown: {},
      original: prepareOriginal(original, { betas, plan, dropped: tools.ignored, policy: alias.hostedTools }),
      parameterNames: body.thinking == null ? NAMES_WITH_EFFORT : NAMES,
    },
  };
}

/** Maps internal names to this API's parameters, for error messages. */
const NAMES = {
  messages: 'messages',
  tools: 'tools',
  toolChoice: 'tool_choice',
  parallelToolCalls: 'tool_choice.disable_parallel_tool_use',
  format: 'output_config.format',
  maxOutputTokens: 'max_tokens',
  temperature: 'temperature',
  topP: 'top_p',
  topK: 'top_k',
  stop: 'stop_sequences',
  reasoningEffort: 'thinking',
  serviceTier: 'service_tier',
} as const;

/** The names of a request in which only the effort asks for reasoning. */
const NAMES_WITH_EFFORT = { ...NAMES, reasoningEffort: 'output_config.effort' } as const;

/** Rejects a limit above that of the alias, if the alias refuses them. Otherwise the router lowers it. */
function checkLimit(maxTokens: number, alias: Alias): void {
  const { maxOutputTokens = Number.POSITIVE_INFINITY } = getAliasLimits(alias);
  if (alias.outputLimit === 'clamp' || maxTokens <= maxOutputTokens) return;
  const reason = `${maxTokens} > ${maxOutputTokens}, which is the maximum allowed number of output tokens for this model`;
  throw invalidRequestError('max_tokens', reason);
}

function omitNullish<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const entries = Object.entries(fields).filter(([, value]) => value != null);
  return Object.fromEntries(entries) as { [K in keyof T]?: NonNullable<T[K]> };
}

function toOutputFormat(
  { output_config, output_format }: MessagesBody,
  limits: readonly SchemaLimit[] | undefined,
): OutputFormat {
  const format = output_config?.format ?? output_format;
  if (format == null) return { type: 'text' };
  const { schema } = format;
  const param = 'output_config.format.schema';
  checkSchemas([{ schema, strict: false, subject: 'the output format', param, code: 'invalid_json_schema' }], limits);
  return { type: 'jsonSchema', name: 'output', schema, strict: true };
}

type ReasoningFields = Pick<GenerationRequest, 'reasoningEffort' | 'reasoningBudget' | 'reasoningSummary'>;

/** Adaptive thinking has Anthropic's default effort, which is high. */
function toReasoning({ thinking, output_config }: MessagesBody): ReasoningFields {
  const effort = output_config?.effort ?? undefined;
  switch (thinking?.type) {
    case 'disabled':
      return { reasoningEffort: 'none', reasoningSummary: false };
    case 'enabled': {
      const { budget_tokens: reasoningBudget, display } = thinking;
      const closest = effort ?? toEffort(reasoningBudget);
      return { reasoningEffort: closest, reasoningBudget, reasoningSummary: display !== 'omitted' };
    }
    case 'adaptive':
      return { reasoningEffort: effort ?? 'high', reasoningSummary: thinking.display !== 'omitted' };
    default:
      return { ...omitNullish({ reasoningEffort: effort }), reasoningSummary: true };
  }
}

/** Returns the effort whose usual number of thinking tokens is closest to a budget. */
function toEffort(budget: number): ReasoningEffort {
  if (budget <= 2_048) return 'low';
  return budget <= 8_192 ? 'medium' : 'high';
}

/** Returns a user id that names a session, as Claude Code's does. Any other id is shared by all of a user's requests. */
function findUserSession(userId: string | null | undefined): string | undefined {
  return userId != null && /session/i.test(userId) ? userId : undefined;
}

/** Lists the fields of the body that have no effect. Those without a value ask for nothing. */
function listUnknown(body: unknown): string[] {
  if (!isObject(body)) return [];
  return Object.entries(body)
    .filter(([name, value]) => !Object.hasOwn(messagesParameters, name) && value != null && !isEmpty(value))
    .map(([name]) => name);
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** Reads the header `anthropic-beta`, a list of names that are separated by commas. */
function readBetas(header: string | undefined): string[] {
  return [...new Set((header ?? '').split(',').map((name) => name.trim()))].filter((name) => name !== '');
}

interface OriginalParts {
  readonly betas: readonly string[];
  readonly plan: EditPlan | undefined;
  /** The paths of the tools that no model gets. */
  readonly dropped: readonly string[];
  readonly policy: Alias['hostedTools'];
}

/** Fields of tools that Anthropic runs itself. */
const HOSTED_FIELDS: ReadonlySet<string> = new Set(['mcp_servers', 'container']);

/**
 * Returns the caller's body with the edits made, without fields that no target gets, and with `null` in place of tools that no
 * model gets.
 */
function prepareOriginal(body: unknown, { betas, plan, dropped, policy }: OriginalParts): OriginalRequest {
  const { context_management: _, ...all } = isObject(body) ? body : {};
  const isKnown = (name: string): boolean =>
    Object.hasOwn(messagesParameters, name) || (policy === 'pass' && HOSTED_FIELDS.has(name));
  const { passed, ignored } = selectOriginalFields(all, (name) => isKnown(name) || undefined);
  const { messages, tools } = passed;
  return {
    protocol: 'messages',
    ignored: [...dropped, ...ignored.filter((name) => all[name] != null && !isEmpty(all[name]))],
    betas,
    body: {
      ...passed,
      ...(plan !== undefined && Array.isArray(messages) && { messages: applyEdits(messages, plan) }),
      ...(dropped.length > 0 &&
        Array.isArray(tools) && {
          tools: tools.map((tool, index) => (dropped.includes(`tools.${index}`) ? null : tool)),
        }),
    },
  };
}
