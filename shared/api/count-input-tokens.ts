import { checkModel } from '../access/model-permissions.ts';
import { mayStoreContent } from '../access/retention.ts';
import type { HttpRequest } from '../access/route.ts';
import { isObject } from '../core/objects.ts';
import { estimatePromptTokens } from '../inference/prompt-tokens.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import type { ParseContext } from '../openai/parameters.ts';
import {
  type ParsedResponsesBody,
  parseResponsesBody,
  parseWithoutInput,
  refersToStoredObjects,
  requireResolvedInput,
  toGenerationRequest,
} from '../openai/responses/request.ts';
import { getConversationId } from '../openai/responses/response.ts';
import { collectItems } from './earlier-items.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';
import { readChain } from './response-chain.ts';
import { buildResponseContext, getContextLimit, listEarlierItems } from './response-context.ts';

/**
 * Answers `POST /v1/responses/input_tokens`: the estimated tokens of what the model would be sent, stored items included.
 * All parameters are optional.
 * @throws LambentError as `POST /v1/responses` does
 */
export async function countInputTokens(
  { body, principal: { tenant, policy } }: HttpRequest,
  { registry, state }: Pick<GenerationApi, 'registry' | 'state'>,
): Promise<HttpResponse> {
  const parsed = parseBody(body, { registry, mayStore: mayStoreContent(policy) });
  const headers = describeHandling(parsed.ignored);
  const generation = await buildRequest();
  if (generation !== undefined) checkModel(policy, generation.model);
  const input_tokens = generation === undefined ? 0 : estimatePromptTokens(generation);
  return { headers, json: { object: 'response.input_tokens', input_tokens } };

  async function buildRequest() {
    const context = { registry, tenant };
    const { input, instructions, previous_response_id: previousId } = parsed.body;
    if (state === undefined || !refersToStoredObjects(parsed.body)) {
      if (input.length === 0 && instructions == null) return undefined;
      return toGenerationRequest(parsed, context, [], requireResolvedInput(input));
    }
    const stores = await state();
    const conversation = getConversationId(parsed.body);
    const earlier =
      conversation === undefined
        ? listEarlierItems(previousId == null ? [] : await readChain(stores, tenant, previousId))
        : await collectItems(
            await stores.conversations.readEarlier({ tenant, id: conversation }),
            getContextLimit(parsed),
          );
    if (earlier.items.length === 0 && input.length === 0 && instructions == null) return undefined;
    return (await buildResponseContext(parsed, earlier, context, stores)).generation;
  }
}

/** Parses a body as that of a response. Without a model, the model is `default`; without input, there are no items. */
function parseBody(body: unknown, context: Pick<ParseContext, 'registry' | 'mayStore'>): ParsedResponsesBody {
  const fields = body === undefined ? {} : body;
  if (!isObject(fields)) return parseResponsesBody(fields, context);
  const named = { ...fields, model: fields['model'] ?? 'default' };
  return fields['input'] == null ? parseWithoutInput(named, context) : parseResponsesBody(named, context);
}
