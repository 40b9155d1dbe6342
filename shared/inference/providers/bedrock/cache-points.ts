import type {
  CachePointBlock,
  ContentBlock,
  Message as ConverseMessage,
  SystemContentBlock,
  Tool,
} from '@aws-sdk/client-bedrock-runtime';
import type { CacheMark, GenerationRequest } from '../../generation.ts';
import { expectReuse, hasMarks } from '../../prompt-reuse.ts';
import type { BedrockTarget } from '../../registry.ts';
import type { BedrockFamily } from './family.ts';

/** Where a call's cache points are set. */
export interface CachePlan {
  /** The point after a part with the caller's mark; undefined if the caller's marks aren't used. */
  readonly toMarkedPoint: (mark: CacheMark | undefined) => CachePointBlock | undefined;
  /** The points that are set at fixed places; undefined if the caller marks some, or nothing will probably be repeated. */
  readonly automatic: AutomaticPoints | undefined;
  readonly rules: BedrockFamily['caching'];
}

/** The points that are set without a mark of the caller. */
export interface AutomaticPoints {
  readonly ttl: '5m' | '1h';
  /** False if only the tools and the system prompt will probably be repeated. */
  readonly inMessages: boolean;
}

/**
 * Plans the cache points of a call. The caller's own marks replace the automatic ones, because Bedrock accepts four at most,
 * and the caller knows which parts repeat.
 */
export function planCachePoints(request: GenerationRequest, target: BedrockTarget, family: BedrockFamily): CachePlan {
  const { ttls } = family.caching;
  const usesMarks = ttls.length > 0 && hasMarks(request);
  const automatic = usesMarks ? undefined : planAutomaticPoints(request, target, family);
  return {
    toMarkedPoint: (mark) => (usesMarks && mark !== undefined ? toPoint(mark, ttls) : undefined),
    automatic,
    rules: family.caching,
  };
}

/**
 * Plans the points of a request without marks; undefined if there are none. By default, models that are known to have cache
 * points get them where the prompt will probably be repeated. An ARN doesn't show whether its model has them.
 */
export function planAutomaticPoints(
  request: GenerationRequest,
  target: BedrockTarget,
  family: BedrockFamily,
): AutomaticPoints | undefined {
  const { promptCache = family.name === 'other' ? false : { ttl: '5m', when: 'likely' } } = target;
  const { ttls } = family.caching;
  if (promptCache === false || ttls.length === 0 || request.hints.cachesMarksOnly) return undefined;
  const reuse = expectReuse(request);
  if (reuse === 'none' && promptCache.when === 'likely') return undefined;
  const ttl = ttls.includes(promptCache.ttl) ? promptCache.ttl : '5m';
  return { ttl, inMessages: reuse === 'conversation' };
}

function toPoint({ ttl }: CacheMark, ttls: BedrockFamily['caching']['ttls']): CachePointBlock {
  // Five minutes is the default, and models without longer times refuse the field.
  return { type: 'default', ...(ttl === '1h' && ttls.includes(ttl) && { ttl }) };
}

/** Returns the blocks of a marked part, followed by its cache point. A part without blocks has nothing to cache. */
export function appendPoint<T>(blocks: readonly T[], point: CachePointBlock | undefined) {
  return point === undefined || blocks.length === 0 ? [...blocks] : [...blocks, { cachePoint: point }];
}

/** Returns the list with the automatic cache point at its end. */
export function endWithPoint<Block extends SystemContentBlock | Tool>(
  blocks: readonly Block[],
  { automatic, rules }: CachePlan,
): (Block | { cachePoint: CachePointBlock })[] {
  return appendPoint(blocks, automatic && toPoint(automatic, rules.ttls));
}

/**
 * Adds the automatic cache points of the messages: one after the last turn, up to which the next request repeats
 * everything, and one where the previous request ended. There, it finds what that one wrote, however many blocks the
 * turns since then have, and examples that precede each of many questions are found, too.
 */
export function addTurnPoints(
  messages: readonly ConverseMessage[],
  { automatic, rules }: CachePlan,
): ConverseMessage[] {
  if (!automatic?.inMessages) return [...messages];
  const findLast = (end: number, role?: 'user'): number =>
    messages.findLastIndex(
      ({ role: own, content = [] }, index) =>
        index < end && (role === undefined || own === role) && acceptsPoint(content, content.at(-1), rules),
    );
  // An answer that the model continues is not repeated as it is.
  const last = findLast(messages.at(-1)?.role === 'assistant' ? messages.length - 1 : messages.length);
  const answer = messages.findLastIndex(({ role }, index) => role === 'assistant' && index < last);
  const marked = new Set([last, findLast(answer, 'user')]);
  const point: ContentBlock = { cachePoint: toPoint(automatic, rules.ttls) };
  return messages.map((message, index) =>
    marked.has(index) ? { ...message, content: [...(message.content ?? []), point] } : message,
  );
}

/** The most cache points of a request. */
const MAX_POINTS = 4;

interface PointLists {
  readonly tools: readonly Tool[];
  readonly system: readonly SystemContentBlock[];
  readonly messages: readonly ConverseMessage[];
}

/**
 * Removes the cache points that Bedrock would refuse: of more than four, the first ones of the messages and then the others,
 * because the later ones cover a longer prefix. After a point of five minutes, a longer time is not accepted.
 */
export function limitPoints({ tools, system, messages }: PointLists): PointLists {
  const counted = [...tools, ...system, ...messages.flatMap(({ content = [] }) => content)];
  const points = counted.filter(({ cachePoint }) => cachePoint !== undefined);
  const inMessages = points.length - [...tools, ...system].filter(({ cachePoint }) => cachePoint !== undefined).length;
  const excess = Math.max(0, points.length - MAX_POINTS);
  const fixed = points.length - inMessages;
  const removed = new Set<unknown>([
    ...points.slice(fixed, fixed + excess),
    ...points.slice(0, Math.max(0, excess - inMessages)),
  ]);
  let isShort = false;
  const limit = <B extends { cachePoint?: CachePointBlock | undefined }>(blocks: readonly B[]): B[] =>
    blocks.flatMap((block) => {
      if (block.cachePoint === undefined) return [block];
      if (removed.has(block)) return [];
      isShort ||= block.cachePoint.ttl !== '1h';
      return [isShort ? { ...block, cachePoint: { type: block.cachePoint.type } } : block];
    });
  // In the order in which the model reads them.
  return {
    tools: limit(tools),
    system: limit(system),
    messages: messages.map((message) => ({ ...message, content: limit(message.content ?? []) })),
  };
}

/** Removes the points of the caller's marks that a turn doesn't accept. */
export function dropRefusedPoints(content: readonly ContentBlock[], { rules }: CachePlan): ContentBlock[] {
  return content.filter((block, index) => !block.cachePoint || acceptsPoint(content, content[index - 1], rules));
}

/** Bedrock refuses a cache point after reasoning or a document, and Nova in a turn with tool calls or results. */
function acceptsPoint(
  content: readonly ContentBlock[],
  previous: ContentBlock | undefined,
  { toolTurns }: CachePlan['rules'],
): boolean {
  if (!previous || previous.reasoningContent || previous.document || previous.cachePoint) return false;
  return toolTurns || !content.some(({ toolUse, toolResult }) => toolUse ?? toolResult);
}
