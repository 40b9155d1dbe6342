import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import * as v from 'valibot';
import { BoundedMap } from '../../core/bounded-map.ts';
import { LambentError, toLambentError } from '../../core/errors.ts';
import type { TrustedIssuer } from './issuers.ts';

/** Milliseconds for which fetched keys are used before they are fetched again. */
const FRESH_MS = 600_000;
/** Milliseconds for which keys are used while their issuer can't be reached. */
const STALE_MS = 86_400_000;
/** Least milliseconds between two fetches from an issuer whose keys are known, whatever keys tokens name. */
const PAUSE_MS = 30_000;
/** The same for an issuer whose keys were never fetched, so that a short outage is no long one here. */
const FIRST_PAUSE_MS = 2_000;
/** More issuers than a deployment trusts. */
const MAX_ISSUERS = 200;

/** Fetches a JSON document. @throws LambentError `issuer_unavailable` */
export type FetchJson = (url: string) => Promise<unknown>;

/** The public keys of issuers, cached in memory. */
export class KeySets {
  readonly #fetch: FetchJson;
  readonly #now: () => number;
  readonly #sets = new BoundedMap<string, FetchedKeys>(MAX_ISSUERS);

  constructor(fetch: FetchJson, now: () => number = Date.now) {
    this.#fetch = fetch;
    this.#now = now;
  }

  /**
   * Returns a function that finds the key of a token among its issuer's, for `jwtVerify`. That function throws jose's
   * `JWKSNoMatchingKey`, and LambentError `issuer_unavailable` if the issuer's keys aren't known.
   */
  find({ issuer, keys }: Pick<TrustedIssuer, 'issuer' | 'keys'>): JWTVerifyGetKey {
    if ('jwks' in keys) return createLocalJWKSet(parseKeySet(keys.jwks));
    const name = JSON.stringify([issuer, keys.discoveryUrl]);
    let fetched = this.#sets.get(name);
    if (fetched === undefined) {
      fetched = new FetchedKeys(() => fetchKeySet(this.#fetch, issuer, keys.discoveryUrl), this.#now);
      this.#sets.set(name, fetched);
    }
    return fetched.find;
  }
}

/** The keys of one issuer. */
class FetchedKeys {
  readonly #fetch: () => Promise<JSONWebKeySet>;
  readonly #now: () => number;
  #keys: { readonly find: JWTVerifyGetKey; readonly fetchedAt: number } | undefined;
  #failure: unknown;
  #nextFetchAt = 0;
  #fetching: Promise<void> | undefined;

  constructor(fetch: () => Promise<JSONWebKeySet>, now: () => number) {
    this.#fetch = fetch;
    this.#now = now;
  }

  readonly find: JWTVerifyGetKey = async (header, token) => {
    if (this.#age() > FRESH_MS) await this.#refresh();
    const keys = this.#keys;
    if (keys === undefined || this.#age() > STALE_MS)
      throw new LambentError('issuer_unavailable', "The token issuer's keys can't be fetched.", {
        cause: this.#failure,
      });
    try {
      return await keys.find(header, token);
    } catch (thrown) {
      // The issuer may have a new key.
      if (!(thrown instanceof errors.JWKSNoMatchingKey)) throw thrown;
      await this.#refresh();
      const refreshed = this.#keys;
      if (refreshed === undefined || refreshed === keys) throw thrown;
      return refreshed.find(header, token);
    }
  };

  #age(): number {
    return this.#now() - (this.#keys?.fetchedAt ?? Number.NEGATIVE_INFINITY);
  }

  /** Fetches the keys, once for all callers, and not before the pause after the last fetch has passed. Throws nothing. */
  async #refresh(): Promise<void> {
    if (this.#fetching === undefined && this.#now() < this.#nextFetchAt) return;
    this.#fetching ??= this.#replaceKeys().finally(() => {
      this.#fetching = undefined;
    });
    await this.#fetching;
  }

  async #replaceKeys(): Promise<void> {
    try {
      this.#keys = { find: createLocalJWKSet(await this.#fetch()), fetchedAt: this.#now() };
    } catch (thrown) {
      this.#failure = toLambentError(thrown);
    }
    this.#nextFetchAt = this.#now() + (this.#keys === undefined ? FIRST_PAUSE_MS : PAUSE_MS);
  }
}

/** Fetches an issuer's metadata, and its keys. */
async function fetchKeySet(fetch: FetchJson, issuer: string, discoveryUrl: string): Promise<JSONWebKeySet> {
  const metadata = v.safeParse(
    v.object({ issuer: v.literal(issuer), jwks_uri: v.string() }),
    await fetch(discoveryUrl),
  );
  if (!metadata.success)
    throw new LambentError('issuer_unavailable', `${discoveryUrl} is not the metadata of the issuer ${issuer}.`);
  return parseKeySet(await fetch(metadata.output.jwks_uri));
}

const keySetSchema = v.object({ keys: v.pipe(v.array(v.looseObject({ kty: v.string() })), v.maxLength(100)) });

/** @throws LambentError `issuer_unavailable` if it isn't a key set of at most 100 keys */
function parseKeySet(keySet: unknown): JSONWebKeySet {
  const result = v.safeParse(keySetSchema, keySet);
  if (result.success) return result.output;
  throw new LambentError('issuer_unavailable', 'The token issuer has sent no key set.');
}
