import type { HttpRequest } from '../access/route.ts';
import type { ParsedResponsesBody } from '../openai/responses/request.ts';
import { missingParameterError } from '../openai/validation.ts';
import type { EarlierItems } from '../sessions/conversations.ts';
import type { ApiState } from './api-state.ts';
import { collectItems } from './earlier-items.ts';
import type { GenerationApi } from './generation-api.ts';
import { createParseContext } from './parse-context.ts';
import { readChain } from './response-chain.ts';
import { buildResponseContext, getContextLimit, listEarlierItems, type ResponseContext } from './response-context.ts';

/** A call of `POST /v1/responses` that reads or writes stored objects. */
export interface StatefulCall {
  /** The id of the response. */
  readonly id: string;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  readonly parsed: ParsedResponsesBody;
  readonly request: HttpRequest;
  readonly api: Required<Pick<GenerationApi, 'router' | 'registry' | 'ids' | 'now' | 'sleep'>> &
    Pick<GenerationApi, 'loadStreamLimits'>;
  readonly state: ApiState;
}

/**
 * Builds the context of a request: its input after the items of its conversation or of its previous responses.
 * @param conversationItems the items of the conversation that the request names, or undefined if it names none
 * @throws LambentError `missing_required_parameter` if there is neither; as `buildResponseContext` does
 */
export async function buildContext(
  { parsed, request, api, state }: StatefulCall,
  conversationItems: EarlierItems | undefined,
): Promise<ResponseContext> {
  const { tenant } = request.principal;
  const { previous_response_id: previousId, input } = parsed.body;
  const earlier =
    conversationItems !== undefined
      ? await collectItems(conversationItems, getContextLimit(parsed))
      : listEarlierItems(previousId == null ? [] : await readChain(state, tenant, previousId));
  if (input.length === 0 && typeof input !== 'string' && earlier.items.length === 0)
    throw missingParameterError('input');
  return buildResponseContext(parsed, earlier, createParseContext(request, api.registry), state);
}

/** Logs how many items were dropped to fit the model's context, and returns the response header for it. */
export function reportDroppedItems(
  { droppedItems }: ResponseContext,
  { telemetry }: HttpRequest,
): Record<string, string> {
  if (droppedItems === 0) return {};
  telemetry.logger.annotate({ droppedItems });
  return { 'x-lambent-dropped-items': String(droppedItems) };
}
