import 'reflect-metadata';
import { subtle, type webcrypto } from 'node:crypto';
import { BasicConstraintsExtension, X509CertificateGenerator } from '@peculiar/x509';

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 3_600_000;

/** A certificate in PEM format, and its keys. */
export interface TestCertificate {
  readonly pem: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export interface CertificateOptions {
  readonly subject?: string;
  readonly isAuthority?: boolean;
  /** The name of the issuer. By default the certificate's own. */
  readonly issuer?: string;
  /** The keys that sign it. By default its own. */
  readonly signer?: webcrypto.CryptoKeyPair;
  /** By default new ones of P-256. */
  readonly keys?: webcrypto.CryptoKeyPair;
  /** Milliseconds from now. */
  readonly begins?: number;
  /** Milliseconds from now. */
  readonly ends?: number;
}

/** Creates a certificate: by default one of an authority, self-signed and valid for an hour. */
export async function createCertificate({
  subject = 'CN=Test',
  isAuthority = true,
  issuer = subject,
  begins = -HOUR_MS,
  ends = HOUR_MS,
  ...options
}: CertificateOptions = {}): Promise<TestCertificate> {
  const keys = options.keys ?? (await createKeys(EC));
  const { privateKey } = options.signer ?? keys;
  const certificate = await X509CertificateGenerator.create({
    subject,
    issuer,
    notBefore: new Date(Date.now() + begins),
    notAfter: new Date(Date.now() + ends),
    publicKey: keys.publicKey,
    signingKey: privateKey,
    signingAlgorithm: privateKey.algorithm.name === 'ECDSA' ? EC : privateKey.algorithm,
    extensions: [new BasicConstraintsExtension(isAuthority)],
  });
  return { pem: certificate.toString('pem'), keys };
}

/** Creates the certificate of a client that an authority has signed. */
export function createClient(authority: TestCertificate, options: CertificateOptions = {}): Promise<TestCertificate> {
  return createCertificate({
    ...{ subject: 'CN=Client', issuer: 'CN=Test', isAuthority: false, signer: authority.keys },
    ...options,
  });
}

/** Creates RSA keys of this size. */
export const createRsaKeys = (modulusLength: number): Promise<webcrypto.CryptoKeyPair> =>
  createKeys({
    ...{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength, publicExponent: new Uint8Array([1, 0, 1]) },
  });

/** Creates keys of an algorithm that signs. */
export async function createKeys(
  algorithm: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams,
): Promise<webcrypto.CryptoKeyPair> {
  return subtle.generateKey(algorithm, true, ['sign', 'verify']);
}
