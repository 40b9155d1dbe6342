import { BoundedMap } from '../../../core/bounded-map.ts';
import { omitUndefined } from '../../../core/objects.ts';
import { deriveTenantSalt } from '../../../gpu/placement/prompt.ts';
import type { Tier } from '../../../gpu/registry/worker.ts';
import type { Model } from '../../model.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { createOpenAICompatibleModel } from '../openai-compatible/openai-compatible.ts';
import { ENGINE_REFUSALS, toEngineFields } from './engine-fields.ts';
import { reportRefusedField } from './observe.ts';

export interface EndpointOptions {
  readonly fleet: Pick<Fleet, 'engine' | 'apiKey'>;
  readonly tier: Tier;
  /** The alias's output limit: sent if the caller gives none, and never exceeded. */
  readonly maxOutputTokens: number | undefined;
  /** Resolves `env:…`, `ssm:…` and `secret:…` references. Called for each request, so it should cache. */
  readonly secret: (reference: string) => Promise<string>;
}

/** More endpoints than a fleet has at a time; those of replaced workers are evicted. */
const MAX_ENDPOINTS = 256;

/**
 * A handshake within a network takes milliseconds. If it takes longer, the machine is gone and can't refuse the
 * connection.
 */
export const CONNECT_MS = 2_000;

/**
 * Creates a function that returns the model at a worker's address. It returns the same model for the same address,
 * because a model remembers which fields its engine refuses.
 */
export function createEndpoints(target: GpuTarget, options: EndpointOptions): (url: string) => Model {
  const { fleet, tier, maxOutputTokens, secret } = options;
  const endpoints = new BoundedMap<string, Model>(MAX_ENDPOINTS);

  const createEndpoint = (baseUrl: string): Model =>
    createOpenAICompatibleModel(
      {
        provider: 'openai-compatible',
        model: target.model,
        weight: target.weight,
        baseUrl,
        maxTokensParameter: 'max_tokens',
        ...omitUndefined({ capabilities: target.capabilities, apiKey: fleet.apiKey }),
      },
      {
        maxOutputTokens,
        secret,
        connectMs: CONNECT_MS,
        // Any worker of the fleet can continue from another worker's reasoning.
        fingerprint: `${target.fleet}/${target.model}`,
        extraFields: ({ tenant }) =>
          toEngineFields(fleet.engine, { tier, cacheSalt: deriveTenantSalt(tenant, target.fleet) }),
        refusals: ENGINE_REFUSALS,
        onRefused: (field, { telemetry }) =>
          reportRefusedField(telemetry, { fleet: target.fleet, url: baseUrl }, field),
      },
    );

  return (url) => {
    const existing = endpoints.get(url);
    if (existing !== undefined) return existing;
    const created = createEndpoint(url);
    endpoints.set(url, created);
    return created;
  };
}
