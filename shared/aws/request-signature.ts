import { createHmac, createSecretKey, hash, type KeyObject } from 'node:crypto';

export interface SigningCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

export interface UnsignedRequest {
  readonly host: string;
  /** Begins with `/`. */
  readonly path: string;
  /** The operation, as `x-amz-target` names it. */
  readonly target: string;
  readonly body: string;
}

/**
 * Returns a function that returns the headers of a POST request in the protocol AWS JSON 1.0, with Signature Version 4.
 * @param now epoch milliseconds
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function createSigner(service: string, region: string) {
  let known: { readonly scope: string; readonly secret: string; readonly key: KeyObject } | undefined;

  /** A key is good for a day, and deriving it takes four times as long as signing. */
  function deriveKey(date: string, secret: string): KeyObject {
    const scope = `${date}/${region}/${service}/aws4_request`;
    if (known?.scope === scope && known.secret === secret) return known.key;
    const derived = scope
      .split('/')
      .reduce<string | Buffer>((key, part) => createHmac('sha256', key).update(part).digest(), `AWS4${secret}`);
    const key = createSecretKey(Buffer.from(derived));
    known = { scope, secret, key };
    return key;
  }

  return ({ host, path, target, body }: UnsignedRequest, credentials: SigningCredentials, now: number) => {
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    const time = new Date(now).toISOString().replace(/[:-]|\.\d{3}/g, '');
    const date = time.slice(0, 8);
    // In alphabetical order, as the signature demands.
    const headers: Record<string, string> = {
      'content-type': 'application/x-amz-json-1.0',
      host,
      'x-amz-date': time,
      ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
      'x-amz-target': target,
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
    const signed = Object.keys(headers).join(';');
    const canonical = `POST\n${path}\n\n${lines.join('')}\n${signed}\n${hash('sha256', body)}`;
    const scope = `${date}/${region}/${service}/aws4_request`;
    const signature = createHmac('sha256', deriveKey(date, secretAccessKey))
      .update(`AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash('sha256', canonical)}`)
      .digest('hex');
    return {
      ...headers,
      'content-length': String(Buffer.byteLength(body)),
      authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`,
    };
  };
}
