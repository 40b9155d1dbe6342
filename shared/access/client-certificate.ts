import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { LambentError } from '../core/errors.ts';
import type { ActiveCertificate } from './policy.ts';

/**
 * Checks the certificate that a client has authenticated with, by mutual TLS. It passes if an active certificate is that of an
 * authority whose key has signed it, or has its own key. Names are not compared: anybody can write them. That the client has the
 * certificate's private key, API Gateway has checked.
 * @param pem undefined without mutual TLS
 * @throws LambentError `certificate_not_authorized`
 */
export function checkClientCertificate(
  pem: string | undefined,
  active: readonly ActiveCertificate[],
  now: number = Date.now(),
): void {
  const certificate = parseCertificate(pem);
  if (certificate === undefined)
    throw certificateNotAuthorizedError('was sent without a client certificate, which its project requires');
  if (!(certificate.validFromDate.getTime() <= now && now < certificate.validToDate.getTime()))
    throw certificateNotAuthorizedError('has a client certificate that is not valid now');
  if (!active.some((each) => now < each.expiresAt * 1000 && isIssuedBy(certificate, each)))
    throw certificateNotAuthorizedError('has a client certificate of an authority that is not active for its project');
}

function certificateNotAuthorizedError(reason: string): LambentError {
  return new LambentError('certificate_not_authorized', `The request ${reason}.`);
}

function isIssuedBy(certificate: X509Certificate, { key, isAuthority }: ActiveCertificate): boolean {
  const publicKey = decodePublicKey(key);
  return certificate.publicKey.equals(publicKey) || (isAuthority && certificate.verify(publicKey));
}

function parseCertificate(pem: string | undefined): X509Certificate | undefined {
  if (pem === undefined) return undefined;
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

/** Returns the public key of an active certificate. */
function decodePublicKey(key: string): KeyObject {
  return createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' });
}
