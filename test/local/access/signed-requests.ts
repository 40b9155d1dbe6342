import { createHash, createHmac } from 'node:crypto';
import { request as send } from 'node:http';
import { text } from 'node:stream/consumers';
import { SignatureV4 } from '@smithy/signature-v4';
import type { AccessKey, AccessKeys } from '../../../local/access/access-keys.ts';

export const KEY: AccessKey = { accessKeyId: 'LAMBENTLOCALTEST', secretAccessKey: 'a secret of the test' };
export const KEYS: AccessKeys = new Map([[KEY.accessKeyId, KEY]]);

/** The hash of AWS's signer: SHA-256, or its HMAC if there is a key. */
class Sha256 {
  readonly #hash;
  constructor(key?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = key === undefined ? createHash('sha256') : createHmac('sha256', toBytes(key));
  }
  update(data: Uint8Array): void {
    this.#hash.update(data);
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
  reset(): void {}
}

function toBytes(key: string | ArrayBuffer | ArrayBufferView): Buffer {
  if (typeof key === 'string') return Buffer.from(key);
  return ArrayBuffer.isView(key) ? Buffer.from(key.buffer, key.byteOffset, key.byteLength) : Buffer.from(key);
}

/** Creates AWS's own signer. */
export function createSigner(service: string, options: { key?: AccessKey; checksum?: boolean } = {}): SignatureV4 {
  const { key = KEY, checksum = true } = options;
  return new SignatureV4({
    service,
    region: 'eu-west-1',
    credentials: key,
    sha256: Sha256,
    applyChecksum: checksum,
    uriEscapePath: service !== 's3',
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

export interface RawRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Sends a request as it is, with any value of Host. */
export function sendRaw(url: string, { method = 'POST', path = '/', headers = {}, body }: RawRequest): Promise<Answer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = send({ hostname, port, method, path, headers }, (response) => {
      text(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
