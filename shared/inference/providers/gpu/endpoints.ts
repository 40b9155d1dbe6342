import { deriveTenantSalt } from '../../../gpu/placement/prompt.ts';
import type { Tier } from '../../../gpu/registry/worker.ts';
import type { Model } from '../../model.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { createOpenAICompatibleModel } from '../openai-compatible/openai-compatible.ts';
import { ENGINE_REFUSALS, engineFields } from './engine-fields.ts';
import { reportRefusedField } from './observe.ts';

export interface EndpointOptions {
  readonly fleet: Pick<Fleet, 'engine' | 'apiKey'>;
  readonly tier: Tier;
  /** The alias's limit: sent when a caller gives none, and never exceeded. */
  readonly maxOutputTokens: number;
  /** Resolves `env:…`, `ssm:…` and `secret:…`; asked at each call, so it should remember. */
  readonly secret: (reference: string) => Promise<string>;
}

/** More than a fleet has at a time; what it had before is forgotten. */
const MOST_ENDPOINTS = 256;

/** A handshake within a network takes milliseconds: a machine that needs longer is gone, and nobody is left to refuse. */
const CONNECT_MS = 2_000;

/** Makes the function that makes the models at workers' addresses, each once: it remembers what its engine refuses. */
export function createEndpoints(target: GpuTarget, options: EndpointOptions): (url: string) => Model {
  const { fleet, tier, maxOutputTokens, secret } = options;
  const endpoints = new Map<string, Model>();

  const endpointAt = (baseUrl: string): Model =>
    createOpenAICompatibleModel(
      {
        provider: 'openai-compatible',
        model: target.model,
        weight: target.weight,
        baseUrl,
        maxTokensParameter: 'max_tokens',
        ...(target.capabilities === undefined ? {} : { capabilities: target.capabilities }),
        ...(fleet.apiKey === undefined ? {} : { apiKey: fleet.apiKey }),
      },
      {
        maxOutputTokens,
        secret,
        connectMs: CONNECT_MS,
        // Any worker of the fleet may go on with what another has begun to reason.
        fingerprint: `${target.fleet}/${target.model}`,
        extraFields: ({ tenant }) =>
          engineFields(fleet.engine, { tier, cacheSalt: deriveTenantSalt(tenant, target.fleet) }),
        refusals: ENGINE_REFUSALS,
        onRefused: (field, { telemetry }) =>
          reportRefusedField(telemetry, { fleet: target.fleet, url: baseUrl }, field),
      },
    );

  return (url) => {
    const known = endpoints.get(url);
    if (known !== undefined) return known;
    const [oldest] = endpoints.keys();
    if (endpoints.size >= MOST_ENDPOINTS && oldest !== undefined) endpoints.delete(oldest);
    const made = endpointAt(url);
    endpoints.set(url, made);
    return made;
  };
}
