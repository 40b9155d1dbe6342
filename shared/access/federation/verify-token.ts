import { errors, type JWTPayload, jwtVerify } from 'jose';
import { fetchPublicJson } from './fetch-public-json.ts';
import type { TrustedIssuer } from './issuers.ts';
import { KeySets } from './key-sets.ts';
import type { UnverifiedToken } from './token.ts';

/**
 * The algorithms of signatures that are accepted, whatever a token's header says: those with a public key. With a secret one, the
 * issuer's public key could be used as the secret.
 */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

/** Seconds by which an issuer's clock may differ. */
const CLOCK_SKEW_SECONDS = 30;

/** A token whose signature, issuer and times are verified. */
export interface VerifiedToken {
  readonly claims: JWTPayload;
  readonly subject: string;
  /** Epoch seconds from which the token is refused. */
  readonly expiresAt: number;
}

/** Verifies tokens, with the issuers' keys cached in memory. */
export interface TokenVerifier {
  /**
   * Verifies a token, besides its audience, by which `trust` was found. The audience is of the text that is verified.
   * @returns the reason as a text if it is refused
   * @throws LambentError `issuer_unavailable` if the issuer's keys aren't known
   */
  verify(token: Pick<UnverifiedToken, 'text'>, trust: TrustedIssuer): Promise<VerifiedToken | string>;
}

/**
 * Creates a verifier.
 * @param isLoopbackAllowed true to permit issuers on `http://127.0.0.1`
 */
export function createTokenVerifier(isLoopbackAllowed: boolean): TokenVerifier {
  const keySets = new KeySets((url) => fetchPublicJson(url, { isLoopbackAllowed }));
  return {
    async verify({ text }, trust) {
      try {
        const { payload } = await jwtVerify(text, keySets.find(trust), {
          algorithms: ALGORITHMS,
          issuer: trust.issuer,
          clockTolerance: CLOCK_SKEW_SECONDS,
          requiredClaims: ['exp', 'sub'],
        });
        const { sub, exp } = payload;
        if (typeof sub !== 'string' || exp === undefined) return 'invalid token: subject';
        return { claims: payload, subject: sub, expiresAt: exp + CLOCK_SKEW_SECONDS };
      } catch (thrown) {
        if (thrown instanceof errors.JOSEError) return `invalid token: ${thrown.code}`;
        throw thrown;
      }
    },
  };
}
