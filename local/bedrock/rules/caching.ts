import type { Block, CachePoint, ModelCall } from './call.ts';
import { findTurn } from './conversation.ts';
import { claude, either, everyModel, matching, of } from './models.ts';
import { GUIDE, type Rule } from './rule.ts';

const CACHING = `${GUIDE}/prompt-caching.html`;
const MAX_POINTS = 4;

/**
 * Where cache points may be. A prefix below the model's minimum of tokens (1,024 to 4,096) is no error: it is not cached.
 */
export const CACHING_RULES: readonly Rule[] = [
  {
    name: 'cache-support',
    source: CACHING,
    appliesTo: (model) =>
      model.family !== 'unknown' &&
      !either(of('nova'), claude({ from: 307 }), matching(/claude-3-5-(?:haiku|sonnet-20241022)/))(model),
    check: (call) =>
      listPoints(call).length > 0
        ? 'You invoked an unsupported model or your request did not allow prompt caching.'
        : undefined,
  },
  {
    name: 'cache-point-count',
    source: CACHING,
    appliesTo: everyModel,
    check: (call) =>
      listPoints(call).length > MAX_POINTS ? `At most ${MAX_POINTS} cache points are accepted` : undefined,
  },
  {
    name: 'cache-point-without-prefix',
    source: 'https://github.com/pydantic/pydantic-ai/blob/main/pydantic_ai_slim/pydantic_ai/models/bedrock.py',
    appliesTo: everyModel,
    check: (call) =>
      findBeforePoint(call, (previous) =>
        previous === undefined || previous.type === 'cachePoint' ? 'A cache point needs content before it' : undefined,
      ),
  },
  {
    name: 'cache-point-after-reasoning',
    source: 'https://github.com/anomalyco/opencode/issues/36517',
    appliesTo: everyModel,
    check: (call) =>
      findBeforePoint(call, (previous) =>
        previous?.type === 'reasoning' ? 'A cache point cannot be inserted after a reasoning block.' : undefined,
      ),
  },
  {
    name: 'cache-point-after-document',
    source: 'https://github.com/pydantic/pydantic-ai/blob/main/pydantic_ai_slim/pydantic_ai/models/bedrock.py',
    appliesTo: everyModel,
    check: (call) =>
      findBeforePoint(call, (previous) =>
        previous?.type === 'document' ? 'A cache point cannot be inserted after a document.' : undefined,
      ),
  },
  {
    name: 'nova-cached-tools',
    source: CACHING,
    appliesTo: of('nova'),
    check: ({ tools = [] }) =>
      tools.some(({ type }) => type === 'cachePoint')
        ? 'Malformed input request: extraneous key [cachePoint]'
        : undefined,
  },
  {
    name: 'nova-cache-point-beside-tool-blocks',
    source:
      'https://github.com/langchain-ai/langchain-aws/blob/main/libs/aws/langchain_aws/chat_models/bedrock_converse.py',
    appliesTo: of('nova'),
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        blocks.some(({ type }) => type === 'cachePoint') && blocks.some(({ type }) => /^tool/.test(type))
          ? `Malformed input request: messages.${index}.content: extraneous key [toolResult]`
          : undefined,
      ),
  },
  {
    name: 'cache-ttl',
    source: CACHING,
    appliesTo: (model) => model.family !== 'unknown' && !claude({ from: 405 })(model),
    check: (call) =>
      listPoints(call).some(({ ttl }) => ttl !== undefined) ? 'This model has no cache point with a ttl' : undefined,
  },
  {
    name: 'cache-ttl-order',
    source: `${CACHING}#prompt-caching-ttl`,
    appliesTo: claude(),
    check: (call) => {
      const ttls = listPoints(call).map(({ ttl = '5m' }) => ttl);
      return ttls.lastIndexOf('1h') > ttls.indexOf('5m') && ttls.includes('5m')
        ? 'A cache point of 1h must not come after one of 5m'
        : undefined;
    },
  },
];

/** Lists the cache points in the order in which the model reads them: tools, system prompt, messages. */
function listPoints({ tools = [], system, turns }: ModelCall): CachePoint[] {
  return [...tools, ...system, ...turns.flatMap(({ blocks }) => blocks)].filter(
    (block): block is CachePoint => block.type === 'cachePoint',
  );
}

/** Checks the block before each cache point of the system prompt and of the messages. */
function findBeforePoint(
  { system, turns }: ModelCall,
  check: (previous: Block | undefined) => string | undefined,
): string | undefined {
  for (const blocks of [system, ...turns.map((turn) => turn.blocks)]) {
    for (const [index, block] of blocks.entries()) {
      const problem = block.type === 'cachePoint' ? check(blocks[index - 1]) : undefined;
      if (problem !== undefined) return problem;
    }
  }
  return undefined;
}
