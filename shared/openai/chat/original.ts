import { isObject } from '../../core/objects.ts';
import { findAlias, type ModelRegistry } from '../../inference/registry.ts';
import { createOriginal } from '../original.ts';
import type { ChatRequest } from './request.ts';
import { chatParameters } from './schema.ts';

/**
 * Returns a chat request with its original, for targets that speak this API. Without such targets, it has no original.
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
    // In this API, this parameter declares the hosted tool for web searches.
    dropped: findAlias(generation.model, registry).hostedTools === 'pass' ? [] : ['web_search_options'],
  });
  return original === undefined ? parsed : { ...parsed, generation: { ...generation, original } };
}
