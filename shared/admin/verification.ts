import { createPublicKey } from 'node:crypto';
import * as v from 'valibot';
import { hasPrivateHost, isPublicUrl } from '../access/federation/public-url.ts';
import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import { arrayOf, jsonObject, object, text, variant } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';

/** The longest issuer, audience and URL. */
const MAX_LENGTH = 512;
const MAX_KEYS = 20;

export const identifier = text({ min: 1, max: MAX_LENGTH });

/** The name of a claim or of an attribute. Three names can't be those of stored properties. */
export const attributeName = text({ min: 1, max: 128, pattern: /^(?!(?:__proto__|prototype|constructor)$)/ });

const transformation = object({ attribute: attributeName, expression: text({ min: 1, max: 256 }) });
export type Transformation = v.InferOutput<typeof transformation>;
export const transformations = arrayOf(transformation, 'objects', { max: 32 });

export const verification = variant('type', {
  discovery: object({ type: v.literal('discovery'), discovery_url: v.nullable(identifier) }),
  uploaded_jwks: object({ type: v.literal('uploaded_jwks'), jwks: jsonObject }),
});
export type Verification = v.InferOutput<typeof verification>;

/**
 * Returns how tokens are verified, with the fields of uploaded keys that this needs: key sets may have certificates and fields of
 * any size, and all that is stored is read with each token.
 * @throws LambentError `invalid_value` for keys that aren't public ones
 */
export function parseVerification(verification: Verification): Verification {
  if (verification.type === 'discovery') return verification;
  const keys = parseKeys(verification.jwks['keys']);
  return { type: 'uploaded_jwks', jwks: { keys } };
}

/**
 * Checks an issuer, which is a URL as tokens have it, and the URL from which its keys are fetched.
 * @throws LambentError `invalid_value`
 */
export function checkVerification(issuer: string, verification: Verification, isLoopbackAllowed: boolean): void {
  const expected = 'it must be an https URL without user name and fragment';
  if (!isPublicUrl(issuer, isLoopbackAllowed)) throw invalidValueError('issuer', `Invalid 'issuer': ${expected}.`);
  if (verification.type === 'uploaded_jwks') return;
  if (verification.discovery_url !== null && !isPublicUrl(verification.discovery_url, isLoopbackAllowed))
    throw invalidValueError('verification.discovery_url', `Invalid 'verification.discovery_url': ${expected}.`);
  else checkHost(issuer, verification.discovery_url, isLoopbackAllowed);
}

/** Keys that are uploaded may be those of a private issuer. Those of others are fetched. */
function checkHost(issuer: string, discoveryUrl: string | null, isLoopbackAllowed: boolean): void {
  if (!hasPrivateHost(discoveryUrl ?? issuer, isLoopbackAllowed)) return;
  const param = discoveryUrl === null ? 'issuer' : 'verification.discovery_url';
  const message = `Invalid '${param}': its host is a private address, from which no keys are fetched. Upload the keys instead.`;
  throw invalidValueError(param, message);
}

/** Returns the URL of an issuer's metadata, if none is configured. @see OpenID Connect Discovery 1.0, section 4 */
export function getDiscoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}

/** The fields of RFC 7517 and 7518 that a key is selected by, or a signature verified with. */
const KEY_FIELDS = ['kty', 'kid', 'use', 'key_ops', 'alg', 'n', 'e', 'crv', 'x', 'y'];

/** Enough for the largest keys that are in use: an RSA key of 16,384 bits has 2.8 KB. */
const MAX_KEYS_BYTES = 64 * 1024;

function parseKeys(keys: unknown): readonly object[] {
  const param = 'verification.jwks';
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MAX_KEYS)
    throw invalidValueError(param, `Invalid '${param}': it must have 1 to ${MAX_KEYS} 'keys'.`);
  const parsed = keys.map((key: unknown, index) => {
    const fault = findFault(key);
    if (fault !== undefined) throw invalidValueError(param, `Invalid '${param}.keys[${index}]': ${fault}.`);
    return Object.fromEntries(Object.entries(Object(key)).filter(([name]) => KEY_FIELDS.includes(name)));
  });
  if (Buffer.byteLength(JSON.stringify(parsed)) <= MAX_KEYS_BYTES) return parsed;
  throw invalidValueError(param, `Invalid '${param}': its keys are larger than ${MAX_KEYS_BYTES / 1024} KB together.`);
}

function findFault(key: unknown): string | undefined {
  if (!isObject(key) || !['RSA', 'EC', 'OKP'].includes(String(key['kty']))) return 'it is not a public key';
  // A private key that was uploaded is no secret any more.
  if ('d' in key || 'k' in key) return 'it has a private part';
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key, format: 'jwk' });
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    return asymmetricKeyType === 'rsa' && bits < 2_048 ? 'its modulus has less than 2,048 bits' : undefined;
  } catch {
    return 'it is not a valid key';
  }
}

const STEP = /^(?:\.([A-Za-z_]\w*)|\[(?:'([^'\\]+)'|"([^"\\]+)")\])/;

/**
 * Parses the expressions of transformations, each the path of a claim: `assertion.realm_access.roles`,
 * `assertion['cognito:groups']`.
 * @returns the steps of the path, by the attribute's name
 * @throws LambentError `unsupported_value` for any other expression, `invalid_value` for an attribute that occurs twice
 */
export function parseTransformations(transformations: readonly Transformation[]): Record<string, string[]> {
  const attributes = new Map<string, string[]>();
  for (const [index, { attribute, expression }] of transformations.entries()) {
    const param = `attribute_transformations[${index}]`;
    if (attributes.has(attribute))
      throw invalidValueError(`${param}.attribute`, `Invalid '${param}.attribute': '${attribute}' occurs twice.`);
    attributes.set(attribute, parsePath(expression, `${param}.expression`));
  }
  return Object.fromEntries(attributes);
}

function parsePath(expression: string, param: string): string[] {
  const steps: string[] = [];
  let rest = expression.startsWith('assertion') ? expression.slice('assertion'.length) : '';
  for (let step = STEP.exec(rest); step !== null; step = STEP.exec(rest)) {
    steps.push(step[1] ?? step[2] ?? step[3] ?? '');
    rest = rest.slice(step[0].length);
  }
  if (steps.length > 0 && rest === '') return steps;
  const message = `Unsupported '${param}': only the path of a claim is supported, such as assertion.realm_access.roles or assertion['cognito:groups'].`;
  throw new LambentError('unsupported_value', message, { param });
}
