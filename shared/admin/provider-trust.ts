import { createIssuerAdministration, type IssuerName } from '../access/federation/issuer-administration.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { LambentError } from '../core/errors.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { AdminApi } from './admin-routes.ts';
import {
  createIdentityProviders,
  hasSameIssuer,
  type IdentityProvider,
  toIssuerName,
  toSettings,
} from './identity-providers.ts';

/**
 * Makes the authorizer trust the issuers that identity providers are stored with. Each request that stores a provider applies the
 * issuers that the provider had and has, so that whatever runs at once, those that are stored are trusted in the end, and no others.
 * Methods throw as those of `IssuerAdministration`.
 */
export interface ProviderTrust {
  /**
   * Reserves the issuer of a provider that is about to be stored.
   * @param before the stored provider that it replaces
   * @throws LambentError `invalid_value` if another provider has the issuer and audience
   */
  reserve(provider: IdentityProvider, before?: IdentityProvider): Promise<void>;
  /** Makes the authorizer not trust the issuer of a provider until it is applied and its rules are enforced. */
  suspend(provider: IdentityProvider): Promise<void>;
  /**
   * Makes the authorizer trust an issuer as its provider is stored now, or no more if the provider doesn't have it or is deleted.
   * @returns the id of another provider that has the issuer and audience. Then nothing is changed
   */
  apply(name: IssuerName): Promise<string | undefined>;
}

/** Creates the trust in the providers of the administration. */
export function createProviderTrust(api: AdminApi): ProviderTrust {
  const providers = createIdentityProviders(api);
  const issuers = createIssuerAdministration(api.access);

  const apply = (name: IssuerName): Promise<string | undefined> =>
    issuers.apply(name, async () => {
      const stored = await providers.find(ORGANIZATION, name.providerId);
      const isItsIssuer = stored !== undefined && !stored.deleted && hasSameIssuer(stored, name);
      return isItsIssuer ? toSettings(stored) : undefined;
    });

  return {
    async reserve(provider, before) {
      const reserve = () => issuers.reserve(toSettings(provider), before && toIssuerName(before));
      const other = await reserve();
      if (other === provider.id) return;
      // A request that a crash has interrupted may have left it to a provider that doesn't have it.
      await apply({ ...toIssuerName(provider), providerId: other });
      if ((await reserve()) !== provider.id) throw takenError(other);
    },

    suspend: (provider) => issuers.suspend(toIssuerName(provider)),

    apply,
  };
}

/** Returns the error for an issuer and audience that another provider has. */
export function takenError(other: string): LambentError {
  return invalidValueError('issuer', `Invalid 'issuer': the provider ${other} has this issuer and audience already.`);
}
