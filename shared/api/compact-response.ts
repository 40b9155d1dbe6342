import { mayStoreContent } from '../access/retention.ts';
import type { HttpRequest } from '../access/route.ts';
import type { ModerationUse } from '../inference/moderation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import { toModeration } from '../openai/parameters.ts';
import { parseResponsesBody } from '../openai/responses/request.ts';
import { encodeUsage } from '../openai/responses/response.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import { createItemIdGenerator, toStoredInput } from '../openai/responses/stored-items.ts';
import { missingParameterError } from '../openai/validation.ts';
import type { ApiState } from './api-state.ts';
import { expandCompactions, prepareCompaction, startFromCompaction } from './compaction.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';
import { readChain } from './response-chain.ts';
import { resolveReferences } from './response-context.ts';
import { findOpenCalls, isFromUser, isInstruction, summarize } from './summary.ts';

type CompactApi = Required<Pick<GenerationApi, 'router' | 'registry' | 'ids' | 'now'>>;

/**
 * Answers `POST /v1/responses/compact`: the user's messages, and one compaction item that stands for the rest. The model
 * itself summarizes the conversation. Instructions and calls without output are kept as they are.
 * @throws LambentError as `POST /v1/responses` does; `upstream_malformed` if the model writes no summary
 */
export async function compactResponse(
  request: HttpRequest,
  { router, registry, ids, now }: CompactApi,
  state: ApiState,
): Promise<HttpResponse> {
  const { tenant, policy } = request.principal;
  const parsed = parseResponsesBody(request.body, { registry, mayStore: mayStoreContent(policy) });
  const { previous_response_id: previousId, input } = parsed.body;
  const earlier = previousId == null ? [] : await readChain(state, tenant, previousId);
  const earlierIds = new Set(earlier.map(({ item }) => item.id));
  const id = `resp_${ids()}`;
  const createItemId = createItemIdGenerator(id, 0);
  const own = toStoredInput(await resolveReferences(input, earlierIds, tenant, state), createItemId);
  const turnItems = startFromCompaction([...earlier, ...own.map((item) => ({ item }))]);
  const items = (await expandCompactions(turnItems, tenant, state.vault)).map(({ item }) => item);
  // Without the notes of earlier compactions, which are messages, too.
  const userMessages = turnItems.map(({ item }) => item).filter(isFromUser);
  if (items.length === 0) throw missingParameterError('input');
  const createCompaction = await prepareCompaction(tenant, state.vault, createItemId);
  const { signal, deadlineAt, telemetry } = request;
  const call = { signal, deadlineAt, telemetry, streamed: false, caller: request.principal };
  const moderation = findBlocking(parsed.body, registry);
  const summary = await summarize(parsed, items, { router, registry, tenant }, call, createItemId, moderation);
  const ignored = parsed.body.moderation != null && moderation === undefined ? ['moderation'] : [];
  const kept = [...items.filter(isInstruction), summary.item, ...findOpenCalls(items)];
  return {
    headers: describeHandling([...parsed.ignored, ...ignored], summary.handling),
    json: {
      id,
      object: 'response.compaction',
      created_at: Math.floor(now() / 1000),
      output: [...userMessages, createCompaction(kept)],
      usage: encodeUsage(summary.usage),
    },
  };
}

/** Returns the moderation of a summary: only what blocks, because the answer has no field for results. */
function findBlocking(body: ResponsesBody, registry: ModelRegistry): ModerationUse | undefined {
  const { moderation } = toModeration(body.moderation, registry);
  if (moderation === undefined) return undefined;
  const { model, input, output } = moderation;
  if (input === 'score' && output === 'score') return undefined;
  return { model, input: input === 'block' ? input : 'skip', output: output === 'block' ? output : 'skip' };
}
