import { X509Certificate } from 'node:crypto';
import * as v from 'valibot';
import type { ActiveCertificate } from '../access/policy.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { AdminApi } from './admin-routes.ts';
import { type Collection, createCollection } from './object-table.ts';

const certificateSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  name: v.nullable(v.string()),
  /** In PEM format. */
  content: v.string(),
});
/** A certificate that was uploaded. Whether it is active is in the policies of the organization and of projects. */
export type Certificate = v.InferOutput<typeof certificateSchema>;

/** Creates the collection of certificates. */
export function createCertificates({ table }: Pick<AdminApi, 'table'>): Collection<Certificate> {
  return createCollection(table, { type: 'certificate', schema: certificateSchema });
}

/** What a certificate says of itself. Times in epoch seconds. */
export interface CertificateDetails extends ActiveCertificate {
  readonly validAt: number;
}

/** Returns the details of a certificate that `parseCertificate` returned. */
export function readDetails({ content }: Pick<Certificate, 'content'>): CertificateDetails {
  const { publicKey, ca, validFromDate, validToDate } = new X509Certificate(content);
  return {
    key: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    isAuthority: ca,
    validAt: toSeconds(validFromDate),
    expiresAt: toSeconds(validToDate),
  };
}

/** Returns what a policy has of a certificate. */
export function toActive({ key, isAuthority, expiresAt }: ActiveCertificate): ActiveCertificate {
  return { key, isAuthority, expiresAt };
}

/** Returns whether a policy's entry is that of a certificate with these details. */
export function isSame(active: ActiveCertificate, details: ActiveCertificate): boolean {
  return active.key === details.key && active.expiresAt === details.expiresAt;
}

const ONE_CERTIFICATE = /^\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*$/;

/**
 * Returns a certificate in PEM format as it is stored.
 * @param now epoch milliseconds
 * @throws LambentError `invalid_value` unless it is one certificate that has not expired, with a key that API Gateway may meet
 */
export function parseCertificate(pem: string, now: number): string {
  const refuse = (reason: string) => invalidValueError('certificate', `Invalid 'certificate': ${reason}`);
  if (!ONE_CERTIFICATE.test(pem)) throw refuse('Expected exactly one certificate in PEM format.');
  const certificate = parse(pem);
  if (certificate === undefined) throw refuse('it is not an X.509 certificate.');
  if (!hasUsualKey(certificate))
    throw refuse('its key must be RSA with 2,048 to 4,096 bits, or of the curve P-256, P-384 or P-521.');
  if (certificate.validToDate.getTime() <= now) throw refuse('it has expired.');
  return certificate.toString();
}

function parse(pem: string): X509Certificate | undefined {
  try {
    const certificate = new X509Certificate(pem);
    // Decoded when it is read. It fails for a key of an unknown kind.
    return certificate.publicKey === undefined ? undefined : certificate;
  } catch {
    return undefined;
  }
}

const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

function hasUsualKey({ publicKey }: X509Certificate): boolean {
  const { modulusLength = 0, namedCurve = '' } = publicKey.asymmetricKeyDetails ?? {};
  if (publicKey.asymmetricKeyType === 'ec') return CURVES.has(namedCurve);
  return publicKey.asymmetricKeyType === 'rsa' && modulusLength >= 2048 && modulusLength <= 4096;
}

function toSeconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}
