import { createHash, createHmac, hash, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { AccessKey, AccessKeys } from './access-keys.ts';
import {
  createStringToSign,
  deriveSigningKey,
  formatScope,
  parseSignature,
  type RequestHead,
  type Scope,
  type SignatureParameters,
} from './canonical-request.ts';
import type { SignatureProblem } from './signature-error.ts';
import { areChunksSigned } from './signed-chunks.ts';

/** AWS's limit for the difference of two clocks. */
const MAX_SKEW_MS = 15 * 60_000;
/** AWS's limit for presigned URLs. */
const MAX_EXPIRY_SECONDS = 7 * 86_400;
/** The signing keys that are cached: one for each service, day and access key, and a few of other regions. */
const MAX_CACHED_KEYS = 64;

const CHUNKS = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
const CHUNKS_WITH_TRAILERS = `${CHUNKS}-TRAILER`;
/** Values of x-amz-content-sha256 with which S3 accepts a body that isn't signed. */
const UNSIGNED: readonly string[] = ['UNSIGNED-PAYLOAD', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'];

/** Checks and renews AWS signatures, version 4, of requests to one service. */
export class SignatureVerifier {
  readonly #service: string;
  readonly #keys: AccessKeys;
  readonly #now: () => number;
  readonly #signingKeys = new Map<string, KeyObject>();

  /**
   * @param service as it is signed: `dynamodb`, `s3`…
   * @param now returns epoch milliseconds
   */
  constructor(service: string, keys: AccessKeys, now: () => number = Date.now) {
    this.#service = service;
    this.#keys = keys;
    this.#now = now;
  }

  get service(): string {
    return this.#service;
  }

  /** Returns why AWS would refuse the request; undefined if its signature is valid. */
  findProblem(head: RequestHead, body: readonly Buffer[]): SignatureProblem | undefined {
    const parameters = parseSignature(head);
    if (parameters === undefined) return 'missing';
    const accessKey = this.#keys.get(parameters.accessKeyId);
    if (accessKey === undefined || accessKey.sessionToken !== parameters.sessionToken) return 'unknownKey';
    const { scope, signedHeaders, signature, timestamp } = parameters;
    // The SDK's clients for HTTP/2 sign the pseudo-header instead.
    const hasHost = signedHeaders.includes('host') || signedHeaders.includes(':authority');
    if (scope.service !== this.#service || !hasHost) return 'mismatch';
    const problem = this.#checkTime(parameters);
    if (problem !== undefined) return problem;

    const bodyHash = hashBody(body);
    // A presigned URL of S3 does not cover the body, unless it has its hash.
    const unsigned = this.#service === 's3' && parameters.expiresIn !== undefined ? UNSIGNED[0] : undefined;
    const declared = parameters.payloadHash ?? unsigned;
    const key = this.#getSigningKey(accessKey, scope);
    const expected = sign(key, createStringToSign(head, parameters, declared ?? bodyHash));
    if (!isEqual(signature, expected)) return 'mismatch';
    if (declared === CHUNKS || declared === CHUNKS_WITH_TRAILERS) {
      const chunks = { key, timestamp, scope: formatScope(scope), seed: signature };
      return areChunksSigned(Buffer.concat(body), chunks, declared === CHUNKS_WITH_TRAILERS) ? undefined : 'mismatch';
    }
    if (declared === undefined || declared === bodyHash) return undefined;
    return this.#service === 's3' && UNSIGNED.includes(declared) ? undefined : 'payloadMismatch';
  }

  /** Returns the headers of a signed request, signed again for another body. Leaves unsigned requests as they are. */
  signAgain(head: RequestHead, body: Buffer): RequestHead['headers'] {
    const parameters = parseSignature(head);
    const accessKey = this.#keys.get(parameters?.accessKeyId ?? '');
    const { authorization } = head.headers;
    if (parameters === undefined || accessKey === undefined || authorization === undefined) return head.headers;
    const bodyHash = hashBody([body]);
    const { 'x-amz-content-sha256': declared, ...others } = head.headers;
    const headers = declared === undefined ? others : { ...others, 'x-amz-content-sha256': bodyHash };
    const text = createStringToSign({ ...head, headers }, parameters, bodyHash);
    const signature = sign(this.#getSigningKey(accessKey, parameters.scope), text);
    return { ...headers, authorization: authorization.replace(/[0-9a-f]{64}$/, signature) };
  }

  #checkTime({ scope, timestamp, expiresIn }: SignatureParameters): SignatureProblem | undefined {
    const signedAt = parseTimestamp(timestamp);
    const now = this.#now();
    if (!timestamp.startsWith(scope.date)) return 'mismatch';
    if (expiresIn === undefined) return Math.abs(now - signedAt) <= MAX_SKEW_MS ? undefined : 'skewed';
    const isValid = expiresIn > 0 && expiresIn <= MAX_EXPIRY_SECONDS && signedAt <= now + MAX_SKEW_MS;
    return isValid && now <= signedAt + expiresIn * 1000 ? undefined : 'expired';
  }

  #getSigningKey({ accessKeyId, secretAccessKey }: AccessKey, scope: Scope): KeyObject {
    const id = `${accessKeyId}/${formatScope(scope)}`;
    const cached = this.#signingKeys.get(id);
    if (cached !== undefined) return cached;
    const key = deriveSigningKey(secretAccessKey, scope);
    if (this.#signingKeys.size >= MAX_CACHED_KEYS) this.#signingKeys.clear();
    this.#signingKeys.set(id, key);
    return key;
  }
}

function sign(key: KeyObject, text: string): string {
  return createHmac('sha256', key).update(text).digest('hex');
}

function isEqual(signature: string, expected: string): boolean {
  return timingSafeEqual(Buffer.from(signature, 'latin1'), Buffer.from(expected, 'latin1'));
}

function hashBody(body: readonly Buffer[]): string {
  const [only] = body;
  if (only !== undefined && body.length === 1) return hash('sha256', only);
  const sha256 = createHash('sha256');
  for (const chunk of body) sha256.update(chunk);
  return sha256.digest('hex');
}

/** Returns epoch milliseconds of `20261129T235900Z`. */
function parseTimestamp(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}
