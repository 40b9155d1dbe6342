import { randomInt } from 'node:crypto';
import { type Item, marshall } from '../../aws/attributes.ts';
import { type Condition, deleteItem, getItem, putItem, type Table } from '../../aws/table.ts';
import { LambentError } from '../../core/errors.ts';
import { repeatChange } from '../repeat-changes.ts';
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
   * Reserves an issuer and audience for a provider that is about to be stored with them. The authorizer doesn't trust the issuer
   * yet. Throws `invalid_value` already if the settings and the provider's rules don't fit into one item.
   * @param before the issuer and audience that the provider has, with its rules. Default: it is a new one
   * @returns the id of the provider that they are reserved for, which may be another one
   */
  reserve(settings: IssuerSettings, before?: IssuerName): Promise<string>;
  /**
   * Makes the authorizer trust an issuer no more, until `apply` is called for it. Removes its rules, because rules that are deleted
   * while the provider has another issuer are not looked for here.
   */
  suspend(name: IssuerName): Promise<void>;
  /**
   * Makes the authorizer trust an issuer as `compute` returns, and no more if that is undefined. Rules stay; a new issuer has
   * none. `compute` is called after each concurrent write, so that the last writer has seen all that was stored before.
   * @returns the id of another provider that has this issuer and audience. Then nothing is changed
   */
  apply(name: IssuerName, compute: () => Promise<IssuerSettings | undefined>): Promise<string | undefined>;
  /**
   * Replaces the rules of a trusted issuer that have certain ids by those that `compute` returns. Does nothing if the issuer isn't
   * trusted. As in `apply`, `compute` is called again after each concurrent write.
   */
  replaceRules(
    name: IssuerName,
    ids: readonly string[],
    compute: () => Promise<readonly FederationRule[]>,
  ): Promise<void>;
}

/** Below the 400 KB that an item of DynamoDB may have. Far fewer are advisable: they are read with each token. */
const MAX_BYTES = 200_000;

/** An item of a trusted issuer. */
interface StoredIssuer {
  readonly trust: TrustedIssuer;
  readonly revision: number;
}

/** Creates the administration of the issuers in an access table. */
export function createIssuerAdministration(access: Table): IssuerAdministration {
  const toKey = ({ issuer, audience }: IssuerName): Item => marshall({ pk: getIssuerPartition(issuer, audience) });
  const read = async (name: IssuerName): Promise<StoredIssuer | undefined> => {
    const item = await getItem(access, toKey(name));
    return item && parseIssuerItem(item);
  };

  /** Writes a new issuer. Returns false if there is one already. */
  const create = (trust: TrustedIssuer): Promise<boolean> =>
    // Random, so that an issuer that was removed and created again has another revision than before.
    putItem(access, createItem(trust, randomInt(2 ** 47)), { condition: 'attribute_not_exists(pk)' });
  const replace = ({ revision }: StoredIssuer, trust: TrustedIssuer): Promise<boolean> =>
    putItem(access, createItem(trust, revision + 1), isUnchanged(revision));
  const remove = ({ trust, revision }: StoredIssuer): Promise<boolean> =>
    deleteItem(access, toKey(trust), isUnchanged(revision));

  const repeat = <T>({ providerId }: IssuerName, attempt: () => Promise<T | 'changed'>): Promise<T> =>
    repeatChange(`the provider ${providerId}`, attempt);

  /** Replaces an issuer that a provider has by what `change` makes of it. */
  const change = (name: IssuerName, toNext: (trust: TrustedIssuer) => Promise<TrustedIssuer>): Promise<void> =>
    repeat(name, async () => {
      const before = await read(name);
      if (before === undefined || before.trust.providerId !== name.providerId) return undefined;
      return (await replace(before, await toNext(before.trust))) ? undefined : 'changed';
    });

  return {
    async reserve(settings, name) {
      const present = name && (await read(name))?.trust;
      const rules = present?.providerId === settings.providerId ? present.rules : [];
      createItem({ ...settings, rules }, 0);
      return repeat(settings, async () => {
        const before = await read(settings);
        if (before !== undefined) return before.trust.providerId;
        return (await create({ ...settings, enabled: false, rules: [] })) ? settings.providerId : 'changed';
      });
    },

    suspend: (name) => change(name, async (trust) => ({ ...trust, enabled: false, rules: [] })),

    apply: (name, compute) =>
      repeat(name, async () => {
        const before = await read(name);
        if (before !== undefined && before.trust.providerId !== name.providerId) return before.trust.providerId;
        const settings = await compute();
        if (before === undefined) {
          if (settings === undefined) return undefined;
          // Reserved first, and trusted only after `compute` was called again: until the item exists, a request that removes the
          // issuer finds nothing.
          await create({ ...settings, enabled: false, rules: [] });
          return 'changed';
        }
        const { rules } = before.trust;
        const isWritten = await (settings === undefined ? remove(before) : replace(before, { ...settings, rules }));
        return isWritten ? undefined : 'changed';
      }),

    replaceRules: (name, ids, compute) =>
      change(name, async (trust) => ({
        ...trust,
        rules: [...trust.rules.filter(({ id }) => !ids.includes(id)), ...(await compute())],
      })),
  };
}

function isUnchanged(revision: number): Condition {
  return { condition: 'revision = :revision', values: marshall({ ':revision': revision }) };
}

/** @throws LambentError `invalid_value` if the item is too large */
function createItem(trust: TrustedIssuer, revision: number): Item {
  const item = createIssuerItem(trust, revision);
  if (Buffer.byteLength(JSON.stringify(item)) <= MAX_BYTES) return item;
  throw new LambentError('invalid_value', 'The provider has too many rules, or too large ones.');
}
