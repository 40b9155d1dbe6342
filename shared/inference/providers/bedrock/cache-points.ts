import type {
  CachePointBlock,
  ContentBlock,
  Message as ConverseMessage,
  SystemContentBlock,
  Tool,
} from '@aws-sdk/client-bedrock-runtime';
import type { CacheMark, GenerationRequest } from '../../generation.ts';
import type { BedrockTarget } from '../../registry.ts';
import type { BedrockFamily } from './family.ts';

/** Where a call's cache points are set. */
export interface CachePlan {
  /** The point after a part with the caller's mark; undefined if the caller's marks aren't used. */
  readonly toMarkedPoint: (mark: CacheMark | undefined) => CachePointBlock | undefined;
  /** The point that is set at fixed places, if the caller marks none. */
  readonly automatic: CachePointBlock | undefined;
  readonly rules: BedrockFamily['caching'];
}

/**
 * Plans the cache points of a call. The caller's own marks replace those that the registry sets, because Bedrock
 * accepts four at most, and the caller knows which parts repeat.
 */
export function planCachePoints(request: GenerationRequest, target: BedrockTarget, family: BedrockFamily): CachePlan {
  const { ttls } = family.caching;
  const usesMarks = ttls.length > 0 && hasMarks(request);
  const toPoint = ({ ttl }: CacheMark): CachePointBlock => ({
    type: 'default',
    // Five minutes is the default, and models without longer times refuse the field.
    ...(ttl === '1h' && ttls.includes(ttl) && { ttl }),
  });
  return {
    toMarkedPoint: (mark) => (usesMarks && mark !== undefined ? toPoint(mark) : undefined),
    automatic: !usesMarks && target.promptCache && ttls.length > 0 ? toPoint(target.promptCache) : undefined,
    rules: family.caching,
  };
}

function hasMarks({ messages, tools }: GenerationRequest): boolean {
  return (
    tools.some(({ cache }) => cache !== undefined) ||
    messages.some(
      (message) =>
        ('cache' in message && message.cache !== undefined) ||
        message.content.some((part) => 'cache' in part && part.cache !== undefined),
    )
  );
}

/** Returns the blocks of a marked part, followed by its cache point. A part without blocks has nothing to cache. */
export function appendPoint<T>(blocks: readonly T[], point: CachePointBlock | undefined) {
  return point === undefined || blocks.length === 0 ? [...blocks] : [...blocks, { cachePoint: point }];
}

/** Returns the list with the automatic cache point at its end. */
export function endWithPoint<Block extends SystemContentBlock | Tool>(
  blocks: readonly Block[],
  { automatic }: CachePlan,
): (Block | { cachePoint: CachePointBlock })[] {
  return appendPoint(blocks, automatic);
}

/**
 * Adds the automatic cache point at the end of the last earlier turn that accepts one. The next request repeats everything
 * up to it.
 */
export function addTurnPoint(messages: readonly ConverseMessage[], { automatic, rules }: CachePlan): ConverseMessage[] {
  if (automatic === undefined) return [...messages];
  const marked = messages.findLastIndex(
    ({ content = [] }, index) => index < messages.length - 1 && acceptsPoint(content, content.at(-1), rules),
  );
  const point: ContentBlock = { cachePoint: automatic };
  return messages.map((message, index) =>
    index === marked ? { ...message, content: [...(message.content ?? []), point] } : message,
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
