import * as v from 'valibot';
import type { IssuerName, IssuerSettings } from '../access/federation/issuer-administration.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import type { LambentError } from '../core/errors.ts';
import { type AdminApi, getPathParameter } from './admin-routes.ts';
import { type Collection, createCollection, objectNotFoundError } from './object-table.ts';
import { getDiscoveryUrl, parseTransformations } from './verification.ts';

const providerSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  updatedAt: v.number(),
  name: v.string(),
  description: v.nullable(v.string()),
  enabled: v.boolean(),
  issuer: v.string(),
  audience: v.string(),
  transformations: v.array(v.object({ attribute: v.string(), expression: v.string() })),
  verification: v.variant('type', [
    v.object({ type: v.literal('discovery'), discovery_url: v.nullable(v.string()) }),
    v.object({ type: v.literal('uploaded_jwks'), jwks: v.record(v.string(), v.unknown()) }),
  ]),
  /** Issuers and audiences that it had, and that the authorizer may still trust. */
  former: v.optional(v.array(v.object({ issuer: v.string(), audience: v.string() })), []),
  /** True if it is being deleted. It is not found then. */
  deleted: v.optional(v.boolean(), false),
});
/** An OIDC issuer whose tokens for an audience are accepted. */
export type IdentityProvider = v.InferOutput<typeof providerSchema>;

const TYPE = 'workload_identity_provider';

/** Creates the collection of identity providers. */
export function createIdentityProviders({ table }: AdminApi): Collection<IdentityProvider> {
  return createCollection(table, { type: TYPE, schema: providerSchema });
}

/** Returns the provider with an id. @throws LambentError `not_found` */
export async function getProvider(providers: Collection<IdentityProvider>, id: string): Promise<IdentityProvider> {
  const provider = await providers.get(ORGANIZATION, id);
  if (provider.deleted) throw providerNotFoundError(id);
  return provider;
}

export function providerNotFoundError(id: string): LambentError {
  return objectNotFoundError(TYPE, id);
}

/** Returns the provider of the path parameter `provider`. @throws LambentError `not_found` */
export function getIdentityProvider(
  providers: Collection<IdentityProvider>,
  request: HttpRequest,
): Promise<IdentityProvider> {
  return getProvider(providers, getPathParameter(request, 'provider'));
}

/** Returns whether two providers, or a provider at two times, have the same issuer and audience. */
export function hasSameIssuer(one: Pick<IssuerName, 'issuer' | 'audience'>, other: typeof one): boolean {
  return one.issuer === other.issuer && one.audience === other.audience;
}

/** Returns the name by which the access table has a provider. */
export function toIssuerName({ id, issuer, audience }: IdentityProvider): IssuerName {
  return { providerId: id, issuer, audience };
}

/** Returns how the authorizer trusts a provider. */
export function toSettings(provider: IdentityProvider): IssuerSettings {
  const { issuer, enabled, verification, transformations } = provider;
  const keys =
    verification.type === 'uploaded_jwks'
      ? { jwks: verification.jwks }
      : { discoveryUrl: verification.discovery_url ?? getDiscoveryUrl(issuer) };
  return { ...toIssuerName(provider), enabled, keys, attributes: parseTransformations(transformations) };
}

/** Encodes a provider as the API shows it. */
export function encodeProvider(provider: IdentityProvider) {
  return {
    id: provider.id,
    object: 'organization.workload_identity_provider' as const,
    type: 'oidc',
    name: provider.name,
    description: provider.description,
    enabled: provider.enabled,
    issuer: provider.issuer,
    audience: provider.audience,
    attribute_transformations: provider.transformations,
    verification: provider.verification,
    created_at: provider.createdAt,
    updated_at: provider.updatedAt,
  };
}
