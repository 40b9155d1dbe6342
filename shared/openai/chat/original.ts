import { isObject } from '../../core/objects.ts';
import { findAlias, type ModelRegistry } from '../../inference/registry.ts';
import { createOriginal } from '../original.ts';
import type { ChatRequest } from './request.ts';
import { chatParameters } from './schema.ts';

/**
 * Returns a chat request with the caller's own body, for targets that speak this API; as it is if it can't go to one.
 * @param body the body as the caller sent it
 */
export function addOriginalChat(parsed: ChatRequest, body: unknown, registry: ModelRegistry): ChatRequest {
  if (!isObject(body)) return parsed;
  const { generation } = parsed;
  const original = createOriginal(body, {
    protocol: 'chat',
    name: generation.model,
    registry,
    fields: chatParameters,
    // A web search is a hosted tool in this API's own form.
    dropped: findAlias(generation.model, registry).hostedTools === 'pass' ? [] : ['web_search_options'],
  });
  return original === undefined ? parsed : { ...parsed, generation: { ...generation, original } };
}
