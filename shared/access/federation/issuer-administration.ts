import { marshall } from '../../aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table } from '../../aws/table.ts';
import { LambentError } from '../../core/errors.ts';
import {
  createIssuerItem,
  type FederationRule,
  getIssuerPartition,
  parseIssuerItem,
  type TrustedIssuer,
} from './issuers.ts';

/** The settings of a trusted issuer, without its rules. */
export type IssuerSettings = Omit<TrustedIssuer, 'rules'>;

/** Names a trusted issuer. */
export type IssuerName = Pick<TrustedIssuer, 'providerId' | 'issuer' | 'audience'>;

/**
 * Changes which issuers the authorizer trusts. Changes take effect within a minute. Each method is idempotent, and throws
 * DynamoDB's errors, LambentError `invalid_value` for more rules than an item can hold, and `overloaded` if other writers keep changing the same issuer.
 */
export interface IssuerAdministration {
  /**
   * Trusts an issuer, or changes how. Its rules stay; a new one has none.
   * @returns false, and changes nothing, if another provider has this issuer and audience
   */
  trust(settings: IssuerSettings): Promise<boolean>;
  /** Trusts an issuer no more. */
  distrust(name: IssuerName): Promise<void>;
  /**
   * Replaces the rules of a trusted issuer that have certain ids by those that `compute` returns. Does nothing if the issuer isn't
   * trusted. `compute` is called after each concurrent write, so that the last write has seen all that was stored before it.
   */
  replaceRules(
    name: IssuerName,
    ids: readonly string[],
    compute: () => Promise<readonly FederationRule[]>,
  ): Promise<void>;
}

/** Attempts to change an item that others change at the same time. */
const MAX_ATTEMPTS = 8;

/** Below the 400 KB that an item of DynamoDB may have. Far fewer are advisable: they are read with each token. */
const MAX_BYTES = 200_000;

/** Creates the administration of the issuers in an access table. */
export function createIssuerAdministration(access: Table): IssuerAdministration {
  /** Replaces an issuer by what `change` makes of it, unless that is undefined. `change` may be called again. */
  const update = async (
    { providerId, issuer, audience }: IssuerName,
    change: (trust: TrustedIssuer | undefined) => Promise<TrustedIssuer | undefined>,
  ): Promise<boolean> => {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const stored = await getItem(access, marshall({ pk: getIssuerPartition(issuer, audience) }));
      const before = stored && parseIssuerItem(stored);
      if (before !== undefined && before.trust.providerId !== providerId) return false;
      const after = await change(before?.trust);
      if (after === undefined) return true;
      const revision = (before?.revision ?? 0) + 1;
      const condition =
        before === undefined
          ? { condition: 'attribute_not_exists(pk)' }
          : { condition: 'revision = :revision', values: marshall({ ':revision': before.revision }) };
      const item = createIssuerItem(after, revision);
      if (Buffer.byteLength(JSON.stringify(item)) > MAX_BYTES)
        throw new LambentError('invalid_value', 'The provider has too many rules, or too large ones.');
      if (await putItem(access, item, condition)) return true;
    }
    throw new LambentError('overloaded', `Other requests kept changing the provider ${providerId}.`);
  };

  return {
    trust: (settings) => update(settings, async (trust) => ({ ...settings, rules: trust?.rules ?? [] })),

    async distrust({ providerId, issuer, audience }) {
      const pk = getIssuerPartition(issuer, audience);
      const item = await getItem(access, marshall({ pk }));
      if (item !== undefined && parseIssuerItem(item).trust.providerId === providerId)
        await deleteItem(access, marshall({ pk }));
    },

    async replaceRules(name, ids, compute) {
      await update(name, async (trust) => {
        if (trust === undefined) return undefined;
        return { ...trust, rules: [...trust.rules.filter(({ id }) => !ids.includes(id)), ...(await compute())] };
      });
    },
  };
}
