import { checkModel, selectModels } from '../access/model-permissions.ts';
import type { HttpRequest } from '../access/route.ts';
import { resolveModel } from '../inference/registry.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import type { GenerationApi } from './generation-api.ts';
import { isAnthropicRequest } from './messages-routes.ts';

/** Answers `GET /v1/models` with the models that the caller may use, in the format of the caller's API. */
export async function showModels(
  { headers, principal: { policy } }: HttpRequest,
  { registry }: Pick<GenerationApi, 'registry'>,
): Promise<HttpResponse> {
  const { listModels } = await loadFormat(headers);
  return { json: listModels({ models: selectModels(policy, registry.models) }) };
}

/**
 * Answers `GET /v1/models/{id}`.
 * @throws LambentError `model_not_found`, also for a model that the caller may not use
 */
export async function showModel(
  { pathParameters, headers, principal: { policy } }: HttpRequest,
  { registry }: Pick<GenerationApi, 'registry'>,
): Promise<HttpResponse> {
  const id = pathParameters['id'] ?? '';
  checkModel(policy, resolveModel(id, registry).name);
  const { retrieveModel } = await loadFormat(headers);
  return { json: retrieveModel(id, registry) };
}

function loadFormat(headers: HttpRequest['headers']) {
  return isAnthropicRequest(headers) ? import('../anthropic/models.ts') : import('../openai/models.ts');
}
