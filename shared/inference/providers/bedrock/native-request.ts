import type { ToolSpecification } from '@aws-sdk/client-bedrock-runtime';
import { isObject } from '../../../core/objects.ts';
import { listIgnoredBetas, selectBedrockBetas } from '../../claude-betas.ts';
import { isUnreadableThinking, limitThinking } from '../../claude-thinking.ts';
import type { GenerationRequest, OriginalRequest } from '../../generation.ts';
import { hasMarks } from '../../prompt-reuse.ts';
import type { BedrockTarget } from '../../registry.ts';
import { planAutomaticPoints } from './cache-points.ts';
import { type BedrockFamily, describeTarget, detectFamily, parseClaudeVersion } from './family.ts';
import { markLast, markPrompt, type NativeBody } from './native-cache.ts';
import { asksForCall, toToolSpecs } from './tools.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The fields of a message that Claude on Bedrock accepts; it refuses any other ("Extra inputs are not permitted"). */
const FIELDS = [
  ...['messages', 'system', 'tools', 'tool_choice', 'thinking', 'output_config', 'temperature', 'top_p', 'top_k'],
  ...['stop_sequences', 'metadata'],
];

/** The blocks that it accepts. Those of tools that Anthropic's servers run are dropped, as in a translated request. */
const BLOCKS: ReadonlySet<unknown> = new Set([
  ...['text', 'image', 'document', 'search_result', 'thinking', 'redacted_thinking', 'tool_use', 'tool_result'],
]);

/** Anthropic's tools that it knows. */
const KNOWN_TOOL = /^(bash|text_editor)_\d+$/;

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/**
 * Returns the caller's request in the format of Claude's own API, if this target can get it: then nothing is lost in a
 * translation. Otherwise returns undefined, and the request is translated, which also says differently what the model's
 * version doesn't accept.
 */
export function findNativeRequest(
  request: GenerationRequest,
  target: BedrockTarget,
  family: BedrockFamily,
): OriginalRequest | undefined {
  const { original } = request;
  if (family.name !== 'claude' || original?.protocol !== 'messages' || target.guardrail !== undefined) return undefined;
  const version = parseClaudeVersion(target.model);
  const { thinking, output_config: config } = original.body;
  const type = isObject(thinking) ? thinking['type'] : undefined;
  const isThinkingAccepted =
    type === undefined ||
    (type === 'adaptive' && version >= 406) ||
    (type === 'enabled' && version >= 307 && version < 407) ||
    (type === 'disabled' && version >= 307);
  const hasEffort = isObject(config) && config['effort'] != null;
  const samples = [request.temperature, request.topP].filter((value) => value !== undefined).length;
  const isAccepted =
    isThinkingAccepted &&
    startsWithUser(request) &&
    (!hasEffort || version >= 406) &&
    request.format.type === 'text' &&
    !asksForCall(request, family) &&
    (family.sampling === 'free' || samples <= (family.sampling === 'fixed' ? 0 : 1)) &&
    (samples === 0 || type === undefined || type === 'disabled') &&
    !request.messages.some(({ content }) =>
      content.some((part) => part.type === 'toolCall' && !isToolCallAccepted(part)),
    );
  return isAccepted ? original : undefined;
}

/** Returns whether the first message is a user's and isn't empty, as Claude requires. A translation adds a missing one. */
function startsWithUser({ messages }: GenerationRequest): boolean {
  const first = messages.find(({ role }) => role !== 'system');
  return first?.role === 'user' && first.content.some((part) => part.type !== 'text' || part.text.trim() !== '');
}

function isToolCallAccepted({ id, name }: { readonly id: string; readonly name: string }): boolean {
  return TOOL_NAME.test(id) && TOOL_NAME.test(name);
}

/**
 * Builds the body of InvokeModel from the caller's body: unaltered, but for what Bedrock refuses.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
 */
export function buildNativeBody(
  request: GenerationRequest,
  { body, betas = [] }: OriginalRequest,
  target: BedrockTarget,
  maxOutputTokens: number | undefined,
): Fields {
  const passedBetas = selectBedrockBetas(betas);
  const version = parseClaudeVersion(target.model);
  const keep = createBlockFilter(version);
  const known = Object.fromEntries(
    FIELDS.flatMap((name) => (body[name] == null ? [] : [[name, withoutNull(body[name])]])),
  );
  const maxTokens = request.maxOutputTokens ?? maxOutputTokens ?? 4_096;
  const messages = placeSystemMessages(asObjects(body['messages']), version)
    .map((message) => ({ role: message['role'], content: toBlocks(message['content']).flatMap(keep) }))
    .filter(({ content }) => content.length > 0);
  const specs = new Map(toToolSpecs(request, describeTarget(target)).map(({ toolSpec }) => [toolSpec.name, toolSpec]));
  const tools = listTools(asObjects(body['tools'])).flatMap((tool) => toTool(tool, specs, version));
  const thinking = limitThinking(body['thinking'], messages, maxTokens);
  const caller: NativeBody = {
    ...known,
    anthropic_version: 'bedrock-2023-05-31',
    ...(passedBetas.length > 0 && { anthropic_beta: passedBetas }),
    max_tokens: maxTokens,
    messages: body['cache_control'] == null ? messages : markEnd(messages, cleanMark(body['cache_control'], version)),
    ...(body['system'] == null ? {} : { system: toBlocks(body['system']).flatMap(keep) }),
    ...('tools' in known && { tools }),
    ...('thinking' in known && { thinking }),
    ...(tools.length === 0 && 'tool_choice' in known && { tool_choice: undefined }),
  };
  if (body['cache_control'] != null || hasMarks(request)) return caller;
  const points = planAutomaticPoints(request, target, detectFamily(target.model));
  return points === undefined ? caller : markPrompt(caller, points);
}

/** Returns a field without its members that are null: that means absent, but Bedrock refuses it for some. */
function withoutNull(field: unknown): unknown {
  if (!isObject(field)) return field;
  return Object.fromEntries(Object.entries(field).filter(([, value]) => value !== null));
}

function asObjects(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function toBlocks(content: unknown): Fields[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : asObjects(content);
}

/** The first version that accepts system messages within a conversation. */
const SYSTEM_MESSAGES_SINCE = 408;

/**
 * Moves the text of system messages to the end of the user message that follows, for models that refuse the role. In front
 * of all messages, it would change the prefix that is cached.
 */
function placeSystemMessages(messages: readonly Fields[], version: number): Fields[] {
  if (version >= SYSTEM_MESSAGES_SINCE) return [...messages];
  const placed: Fields[] = [];
  let waiting: Fields[] = [];
  for (const message of messages) {
    if (message['role'] === 'system') waiting.push(...toBlocks(message['content']));
    else if (message['role'] === 'user' && waiting.length > 0) {
      placed.push({ role: 'user', content: [...toBlocks(message['content']), ...waiting] });
      waiting = [];
    } else placed.push(message);
  }
  return waiting.length === 0 ? placed : [...placed, { role: 'user', content: waiting }];
}

/** Creates the function that returns what Bedrock accepts of a block: one block, or none. */
function createBlockFilter(version: number): (block: Fields) => Fields[] {
  const keep = (block: Fields): Fields[] => {
    const { type, text } = block;
    if (!BLOCKS.has(type)) return [];
    // An empty text is refused, and a client's own metadata changes with every request.
    if (type === 'text' && (String(text).trim() === '' || /^x-anthropic-billing-header:/.test(String(text)))) return [];
    if (isUnreadableThinking(block)) return [];
    const { cache_control: mark, citations, caller: _, toolset_name: __, ...rest } = block;
    const content = type === 'tool_result' && Array.isArray(rest['content']) ? rest['content'] : undefined;
    return [
      {
        ...rest,
        ...toCitations(citations),
        ...(mark != null && { cache_control: cleanMark(mark, version) }),
        ...(content !== undefined && { content: asObjects(content).flatMap(keep) }),
      },
    ];
  };
  return keep;
}

/** Returns the citations, without those of searches by Anthropic's servers, whose results Bedrock doesn't get. */
function toCitations(citations: unknown): Fields {
  if (citations == null || !Array.isArray(citations)) return citations == null ? {} : { citations };
  const kept = citations.filter((each) => !isObject(each) || each['type'] !== 'web_search_result_location');
  return kept.length === 0 ? {} : { citations: kept };
}

/** Returns a mark with the fields that Bedrock accepts. Longer times are accepted from version 4.5 on. */
function cleanMark(mark: unknown, version: number): Fields {
  const ttl = isObject(mark) ? mark['ttl'] : undefined;
  return { type: 'ephemeral', ...(ttl != null && version >= 405 && { ttl }) };
}

function markEnd(messages: NativeBody['messages'], mark: Fields): NativeBody['messages'] {
  return messages.map((message, index) =>
    index === messages.length - 1 ? { ...message, content: markLast(message.content, mark) } : message,
  );
}

/** Returns the tools, each name once. A tool of a server, which is dropped later, may have the name of a caller's tool. */
function listTools(tools: readonly Fields[]): Fields[] {
  const isCallers = ({ type }: Fields): boolean => type == null || type === 'custom' || KNOWN_TOOL.test(String(type));
  const names = new Set(tools.filter(isCallers).map(({ name }) => name));
  return tools.filter((tool) => isCallers(tool) || (!names.has(tool['name']) && names.add(tool['name'])));
}

/**
 * Returns a tool with the fields that Bedrock accepts; a tool of Anthropic that it doesn't know with its schema. Schemas
 * are those of a translated request.
 */
function toTool(tool: Fields, specs: ReadonlyMap<unknown, ToolSpecification>, version: number): Fields[] {
  const { type, name, cache_control: mark } = tool;
  const cache = mark == null ? {} : { cache_control: cleanMark(mark, version) };
  if (typeof type === 'string' && KNOWN_TOOL.test(type)) return [{ type, name, ...cache }];
  const spec = specs.get(name);
  if (spec === undefined) return [];
  const { description, inputSchema, strict } = spec;
  return [
    {
      name,
      ...(description && { description }),
      input_schema: inputSchema?.json,
      ...(strict && { strict }),
      ...cache,
    },
  ];
}

/** The parameters that `buildNativeBody` reads besides those that it passes on. */
const READ = new Set(['model', 'max_tokens', 'stream', 'cache_control', 'service_tier', 'output_format']);

/** Lists the caller's parameters that Bedrock doesn't get in a native request. */
export function listIgnoredByBedrock({ original }: GenerationRequest): string[] {
  if (original === undefined) return [];
  const { body, betas = [] } = original;
  const fields = Object.entries(body).filter(
    ([name, value]) => value != null && !FIELDS.includes(name) && !READ.has(name) && !isEmpty(value),
  );
  const tools = Array.isArray(body['tools']) ? body['tools'] : [];
  const searches = tools.flatMap((tool, index) => (isServerSearch(tool) ? [`tools.${index}`] : []));
  return [...fields.map(([name]) => name), ...searches, ...listIgnoredBetas(betas, selectBedrockBetas(betas))];
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** A search by Anthropic's servers. All tools are sent, so there is nothing to search. */
function isServerSearch(tool: unknown): boolean {
  return isObject(tool) && /^tool_search_tool_/.test(String(tool['type']));
}
