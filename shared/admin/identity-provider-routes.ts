import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { boolean, object, oneOf, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import { createFederationRules } from './federation-rules.ts';
import {
  createIdentityProviders,
  encodeProvider,
  getIdentityProvider,
  hasSameIssuer,
  type IdentityProvider,
  providerNotFoundError,
  toIssuerName,
} from './identity-providers.ts';
import { createObjectId } from './object-table.ts';
import { createProviderTrust, takenError } from './provider-trust.ts';
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
  const trust = createProviderTrust(api);

  /** @throws LambentError `invalid_value` */
  const check = async (provider: IdentityProvider): Promise<void> => {
    checkVerification(provider.issuer, provider.verification, api.isLoopbackIssuerAllowed);
    parseTransformations(provider.transformations);
    for await (const other of providers.listAll(ORGANIZATION)) {
      if (other.id === provider.id || other.deleted || !hasSameIssuer(other, provider)) continue;
      // Its creation may have been interrupted, and this request be the repeated one.
      await trust.apply(toIssuerName(other));
      throw takenError(other.id);
    }
  };

  /**
   * Applies the issuer that a stored provider has, and those that it had.
   * @returns the id of another provider that has taken its issuer meanwhile. In this case, its former issuers aren't applied
   */
  const applyStored = async (provider: IdentityProvider): Promise<string | undefined> => {
    const { id, former } = provider;
    const other = await trust.apply(toIssuerName(provider));
    if (other !== undefined && !provider.deleted) return other;
    for (const name of former) await trust.apply({ ...name, providerId: id });
    const isLeft = (name: (typeof former)[number]) => !former.some((each) => hasSameIssuer(each, name));
    if (former.length > 0)
      await providers.update(ORGANIZATION, id, (current) => ({ ...current, former: current.former.filter(isLeft) }));
    return undefined;
  };

  /** Stores a changed provider. @throws LambentError `overloaded` if another request has changed its issuer or audience */
  const store = async (
    before: IdentityProvider,
    change: (provider: IdentityProvider) => IdentityProvider,
  ): Promise<IdentityProvider> => {
    const { id } = before;
    const changed = change(before);
    const isMoved = !hasSameIssuer(changed, before);
    await trust.reserve(changed, before);
    // What is taken away comes first: the old issuer, or all that the provider admits.
    if (isMoved || !changed.enabled) await trust.suspend(before);
    try {
      return await providers.update(ORGANIZATION, id, (current) => {
        if (current.deleted) throw providerNotFoundError(id);
        if (!hasSameIssuer(current, before))
          throw new LambentError('overloaded', `Another request has changed the issuer of the provider ${id}.`);
        return isMoved ? move(current, change(current)) : change(current);
      });
    } catch (thrown) {
      for (const each of [before, changed]) await trust.apply(toIssuerName(each));
      await rules.enforce(await rules.listOf(id));
      throw thrown;
    }
  };

  return {
    'GET /v1/organization/workload_identity_providers': createAdminRoute((request) =>
      listObjects(request, providers, ORGANIZATION, encodeProvider, ({ deleted }) => !deleted),
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
        former: [],
        deleted: false,
      };
      await check(provider);
      await trust.reserve(provider);
      await providers.create(ORGANIZATION, provider);
      const other = await trust.apply(toIssuerName(provider));
      if (other !== undefined) {
        // Another request has taken the issuer before this provider was stored.
        await providers.delete(ORGANIZATION, provider.id);
        throw takenError(other);
      }
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
        const after = await store(before, change);
        const other = await applyStored(after);
        if (other !== undefined) {
          const { issuer, audience } = before;
          const moveBack = (current: IdentityProvider) =>
            hasSameIssuer(current, after) ? move(current, { ...current, issuer, audience }) : current;
          await applyStored(await providers.update(ORGANIZATION, after.id, moveBack));
          await rules.enforce(await rules.listOf(after.id));
          throw takenError(other);
        }
        await rules.enforce(await rules.listOf(after.id));
        const details = { changes_requested: encodeProvider(after), previous: encodeProvider(before) };
        logAct(request.telemetry, { type: 'workload_identity_provider.updated', objectId: after.id, details });
        return encodeProvider(after);
      },
    ),

    'DELETE /v1/organization/workload_identity_providers/{provider}': createAdminRoute(async (request) => {
      // A repeated request finds a provider whose deletion was interrupted.
      const provider = await providers.get(ORGANIZATION, getPathParameter(request, 'provider'));
      const { id } = provider;
      const [rule] = provider.deleted ? [] : await rules.listOf(id);
      if (rule !== undefined)
        throw invalidValueError('id', `The provider ${id} has federation rules. Delete them first: ${rule.id}.`);
      await trust.suspend(provider);
      await applyStored(await providers.update(ORGANIZATION, id, (current) => ({ ...current, deleted: true })));
      // Those that were created meanwhile.
      for (const each of await rules.listOf(id)) await rules.remove(each);
      await providers.delete(ORGANIZATION, id);
      logAct(request.telemetry, { type: 'workload_identity_provider.deleted', objectId: id });
      return { id, object: 'organization.workload_identity_provider.deleted' as const, deleted: true };
    }),
  };
}

/** Returns `after` with the issuer of `before` among the former ones. */
function move({ issuer, audience, former }: IdentityProvider, after: IdentityProvider): IdentityProvider {
  return { ...after, former: [...former, { issuer, audience }] };
}
