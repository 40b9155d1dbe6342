import { createHmac, createSecretKey, hash, type KeyObject } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** A request without its body. */
export interface RequestHead {
  readonly method: string;
  /** Path and query, as they were sent. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

/** The date, region and service for which a request was signed. */
export interface Scope {
  /** `20261129` */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

/** The parameters of a signature, from the header Authorization or from a presigned URL. */
export interface SignatureParameters {
  readonly accessKeyId: string;
  readonly scope: Scope;
  readonly signedHeaders: readonly string[];
  /** 64 hexadecimal digits. */
  readonly signature: string;
  /** `20261129T235900Z` */
  readonly timestamp: string;
  /** Seconds for which a presigned URL is valid; undefined for the header. */
  readonly expiresIn: number | undefined;
  readonly sessionToken: string | undefined;
  /** The text that stands for the body, usually its SHA-256; undefined if the client sent none. */
  readonly payloadHash: string | undefined;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const AUTHORIZATION = /^AWS4-HMAC-SHA256 Credential=([^\s,]+),\s*SignedHeaders=([^\s,]+),\s*Signature=([0-9a-f]{64})$/;

/** Returns the parameters of a request's signature; undefined if it has none, or a malformed one. */
export function parseSignature({ url, headers }: RequestHead): SignatureParameters | undefined {
  if (headers.authorization !== undefined) {
    const [, credential, signedHeaders, signature] = AUTHORIZATION.exec(headers.authorization) ?? [];
    const read = (name: string) => (headers[name] === undefined ? undefined : readHeader(headers, name));
    return compose({ credential, signedHeaders, signature, read, expiresIn: undefined });
  }
  const query = new URLSearchParams(splitUrl(url)[1]);
  if (query.get('X-Amz-Algorithm') !== ALGORITHM) return undefined;
  const parameters = new Map([...query].map(([name, value]) => [name.toLowerCase(), value]));
  return compose({
    credential: parameters.get('x-amz-credential'),
    signedHeaders: parameters.get('x-amz-signedheaders'),
    signature: parameters.get('x-amz-signature'),
    read: (name) => parameters.get(name),
    expiresIn: Number(parameters.get('x-amz-expires')),
  });
}

interface Parts extends Pick<SignatureParameters, 'expiresIn'> {
  readonly credential: string | undefined;
  readonly signedHeaders: string | undefined;
  readonly signature: string | undefined;
  /** Reads a header, or the parameter of a presigned URL that replaces it. */
  readonly read: (name: string) => string | undefined;
}

function compose({ credential = '', signedHeaders = '', signature = '', read, expiresIn }: Parts) {
  const [accessKeyId = '', date = '', region = '', service = '', end, ...rest] = credential.split('/');
  const timestamp = read('x-amz-date') ?? '';
  const isComplete = end === 'aws4_request' && rest.length === 0 && /^[0-9a-f]{64}$/.test(signature);
  if (!isComplete || !/^\d{8}T\d{6}Z$/.test(timestamp)) return undefined;
  return {
    accessKeyId,
    scope: { date, region, service },
    signedHeaders: signedHeaders.split(';'),
    signature,
    timestamp,
    expiresIn,
    sessionToken: read('x-amz-security-token'),
    payloadHash: read('x-amz-content-sha256'),
  };
}

/**
 * Returns the text whose HMAC is the signature.
 * @param payloadHash the body's SHA-256, or the text that stands for it
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function createStringToSign(
  { method, url, headers }: RequestHead,
  { scope, signedHeaders, timestamp }: SignatureParameters,
  payloadHash: string,
): string {
  const [path, query] = splitUrl(url);
  const canonical = [
    method,
    scope.service === 's3' ? encodeOnce(path) : encodeAgain(path),
    query === '' ? '' : sortQuery(query),
    ...signedHeaders.map((name) => `${name}:${readHeader(headers, name)}`),
    '',
    signedHeaders.join(';'),
    payloadHash,
  ].join('\n');
  return `${ALGORITHM}\n${timestamp}\n${formatScope(scope)}\n${hash('sha256', canonical)}`;
}

/** Returns the scope as it is signed. */
export function formatScope({ date, region, service }: Scope): string {
  return `${date}/${region}/${service}/aws4_request`;
}

/** Derives the key that signs requests of a scope. As a key object, it makes an HMAC five times as fast as its bytes do. */
export function deriveSigningKey(secretAccessKey: string, { date, region, service }: Scope): KeyObject {
  const first = Buffer.from(`AWS4${secretAccessKey}`);
  const parts = [date, region, service, 'aws4_request'];
  return createSecretKey(parts.reduce((key, part) => createHmac('sha256', key).update(part).digest(), first));
}

function splitUrl(url: string): [path: string, query: string] {
  const start = url.indexOf('?');
  return start === -1 ? [url, ''] : [url.slice(0, start), url.slice(start + 1)];
}

function readHeader(headers: IncomingHttpHeaders, name: string): string {
  // HTTP/2 has a pseudo-header instead of Host.
  const value = name === 'host' ? (headers.host ?? headers[':authority']) : headers[name];
  const text = Array.isArray(value) ? value.join(',') : (value ?? '');
  const trimmed = text.trim();
  return trimmed.includes('  ') ? trimmed.replace(/ {2,}/g, ' ') : trimmed;
}

/** S3 encodes a key once. Clients differ in the characters that they encode, so the path is decoded first. */
function encodeOnce(path: string): string {
  return path
    .split('/')
    .map((segment) => encode(decode(segment)))
    .join('/');
}

/** All other services encode the path that was sent, in which clients have encoded each segment, once more. */
function encodeAgain(path: string): string {
  return path === '/' ? path : path.split('/').map(encode).join('/');
}

function sortQuery(query: string): string {
  const pairs = query.split('&').flatMap((pair) => {
    const [name = '', ...value] = pair.split('=');
    const encoded = [encode(decode(name)), encode(decode(value.join('=')))] as const;
    return name === '' || name === 'X-Amz-Signature' ? [] : [encoded];
  });
  const compare = (a: string, b: string) => Number(a > b) - Number(a < b);
  const sorted = pairs.sort(([a, valueA], [b, valueB]) => compare(a, b) || compare(valueA, valueB));
  return sorted.map((pair) => pair.join('=')).join('&');
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Returns text that isn't encoded correctly unchanged. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
