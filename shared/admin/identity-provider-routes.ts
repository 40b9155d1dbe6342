import * as v from 'valibot';
import { createIssuerAdministration } from '../access/federation/issuer-administration.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { logAct } from '../audit/act.ts';
import type { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { boolean, object, oneOf, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  listObjects,
} from './admin-routes.ts';
import { createFederationRules } from './federation-rules.ts';
import {
  createIdentityProviders,
  encodeProvider,
  getIdentityProvider,
  type IdentityProvider,
  toIssuerName,
  toSettings,
} from './identity-providers.ts';
import { createObjectId } from './object-table.ts';
import {
  checkVerification,
  identifier,
  parseTransformations,
  parseVerification,
  transformations,
  verification,
} from './verification.ts';

const name = text({ min: 1, max: 256 });
const description = text({ max: 1_024 });
const createBody = object({
  type: oneOf(['oidc']),
  name,
  issuer: identifier,
  audience: identifier,
  description: v.optional(v.nullable(description)),
  enabled: v.optional(boolean),
  attribute_transformations: v.optional(transformations),
  verification: v.optional(verification),
});
const updateBody = object({
  name: v.optional(name),
  issuer: v.optional(identifier),
  audience: v.optional(identifier),
  description: v.optional(v.nullable(description)),
  enabled: v.optional(boolean),
  attribute_transformations: v.optional(transformations),
  verification: v.optional(verification),
});

/** Creates the routes of workload identity providers. */
export function createIdentityProviderRoutes(api: AdminApi) {
  const providers = createIdentityProviders(api);
  const rules = createFederationRules(api);
  const issuers = createIssuerAdministration(api.access);

  /** @throws LambentError `invalid_value` */
  const check = async (provider: IdentityProvider): Promise<void> => {
    checkVerification(provider.issuer, provider.verification, api.isLoopbackIssuerAllowed);
    parseTransformations(provider.transformations);
    for await (const other of providers.listAll(ORGANIZATION))
      if (other.id !== provider.id && other.issuer === provider.issuer && other.audience === provider.audience)
        throw takenError(other.id);
  };

  /** Makes the authorizer trust the provider, as it is. */
  const trust = async (provider: IdentityProvider): Promise<void> => {
    if (!(await issuers.trust(toSettings(provider)))) throw takenError('of another request');
  };

  return {
    'GET /v1/organization/workload_identity_providers': createAdminRoute((request) =>
      listObjects(request, providers, ORGANIZATION, encodeProvider),
    ),

    'POST /v1/organization/workload_identity_providers': createBodyRoute(createBody, async (request, body) => {
      const now = api.now();
      const createdAt = Math.floor(now / 1000);
      const provider: IdentityProvider = {
        id: createObjectId('idp', now),
        createdAt,
        updatedAt: createdAt,
        name: body.name,
        description: body.description ?? null,
        enabled: body.enabled ?? true,
        issuer: body.issuer,
        audience: body.audience,
        transformations: body.attribute_transformations ?? [],
        verification: parseVerification(body.verification ?? { type: 'discovery', discovery_url: null }),
      };
      await check(provider);
      await providers.create(ORGANIZATION, provider);
      await trust(provider);
      const details = { data: encodeProvider(provider) };
      logAct(request.telemetry, { type: 'workload_identity_provider.created', objectId: provider.id, details });
      return encodeProvider(provider);
    }),

    'GET /v1/organization/workload_identity_providers/{provider}': createAdminRoute(async (request) =>
      encodeProvider(await getIdentityProvider(providers, request)),
    ),

    'POST /v1/organization/workload_identity_providers/{provider}': createOptionalBodyRoute(
      updateBody,
      async (request, { attribute_transformations, verification, ...others }) => {
        const changes = { ...others, verification: verification && parseVerification(verification) };
        const before = await getIdentityProvider(providers, request);
        const change = (provider: IdentityProvider): IdentityProvider => ({
          ...provider,
          ...omitUndefined(changes),
          transformations: attribute_transformations ?? provider.transformations,
          updatedAt: Math.floor(api.now() / 1000),
        });
        await check(change(before));
        // Taken away first: the old issuer, or what the provider is no more.
        if (change(before).issuer !== before.issuer || change(before).audience !== before.audience)
          await issuers.distrust(toIssuerName(before));
        else if (!change(before).enabled) await trust(change(before));
        const after = await providers.update(ORGANIZATION, before.id, change);
        await trust(after);
        await rules.enforce(await rules.listOf(after.id));
        const details = { changes_requested: encodeProvider(after), previous: encodeProvider(before) };
        logAct(request.telemetry, { type: 'workload_identity_provider.updated', objectId: after.id, details });
        return encodeProvider(after);
      },
    ),

    'DELETE /v1/organization/workload_identity_providers/{provider}': createAdminRoute(async (request) => {
      const provider = await getIdentityProvider(providers, request);
      const { id } = provider;
      const [rule] = await rules.listOf(id);
      if (rule !== undefined)
        throw invalidValueError('id', `The provider ${id} has federation rules. Delete them first: ${rule.id}.`);
      await issuers.distrust(toIssuerName(provider));
      await providers.delete(ORGANIZATION, id);
      logAct(request.telemetry, { type: 'workload_identity_provider.deleted', objectId: id });
      return { id, object: 'organization.workload_identity_provider.deleted' as const, deleted: true };
    }),
  };
}

function takenError(other: string): LambentError {
  return invalidValueError('issuer', `Invalid 'issuer': the provider ${other} has this issuer and audience already.`);
}
