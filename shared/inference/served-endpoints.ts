import { LambentError } from '../core/errors.ts';
import type { GenerationRequest } from './generation.ts';
import { expandFallbacks, type ModelRegistry, type Target } from './registry.ts';

/** Returns whether a target gets nothing but callers' own requests for messages: its upstream has no other endpoint. */
export function servesMessagesOnly(target: Target): boolean {
  if (target.provider !== 'openai-compatible' || target.passThrough === undefined) return false;
  return target.passThrough.length > 0 && target.passThrough.every((protocol) => protocol === 'messages');
}

/** Returns whether a target has an endpoint for a request. */
export function servesEndpoint(target: Target, { original }: Pick<GenerationRequest, 'original'>): boolean {
  return original?.protocol === 'messages' || !servesMessagesOnly(target);
}

/**
 * Checks that a target of the request's model, or of its fallbacks, has an endpoint for the request.
 * @throws LambentError `model_not_found`
 */
export function checkEndpoint(request: Pick<GenerationRequest, 'model' | 'original'>, registry: ModelRegistry): void {
  const { model } = request;
  const targets = expandFallbacks(model, registry).flatMap((name) => registry.models[name]?.targets ?? []);
  if (registry.models[model]?.embeddings !== undefined) {
    const message = `The model \`${model}\` only generates embeddings: use /v1/embeddings.`;
    throw new LambentError('model_not_found', message, { param: 'model' });
  }
  if (targets.some((target) => servesEndpoint(target, request))) return;
  const message =
    `The model \`${model}\` is only supported in /v1/messages: use this endpoint, ` +
    'or configure a target or a fallback of the model that serves others.';
  throw new LambentError('model_not_found', message, { param: 'model' });
}
