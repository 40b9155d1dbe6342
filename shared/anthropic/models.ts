import type { ModelInfo } from '@anthropic-ai/sdk/resources/models';
import { getAliasLimits } from '../inference/model-limits.ts';
import { type Alias, type ModelRegistry, resolveModel } from '../inference/registry.ts';

/** Anthropic's page of models. All fit on one. */
export interface ModelPage {
  readonly data: readonly ModelInfo[];
  readonly has_more: boolean;
  readonly first_id: string | null;
  readonly last_id: string | null;
}

/** Returns Anthropic's list of models, in the registry's order. */
export function listModels({ models }: Pick<ModelRegistry, 'models'>): ModelPage {
  const data = Object.entries(models).map(([id, alias]) => encodeModel(id, alias));
  return { data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

/**
 * Returns Anthropic's object for a model that a request may name.
 * @throws LambentError `model_not_found`
 */
export function retrieveModel(id: string, registry: ModelRegistry): ModelInfo {
  return encodeModel(id, resolveModel(id, registry).alias);
}

function encodeModel(id: string, alias: Alias): ModelInfo {
  const { contextTokens, maxOutputTokens } = getAliasLimits(alias);
  return {
    type: 'model',
    id,
    display_name: id,
    // An alias has no date, but clients require one. This is Anthropic's value for "unknown".
    created_at: '1970-01-01T00:00:00Z',
    lifecycle: 'active',
    line: null,
    deprecated_at: null,
    retires_at: null,
    capabilities: null,
    max_input_tokens: contextTokens ?? null,
    max_tokens: maxOutputTokens ?? null,
  };
}
