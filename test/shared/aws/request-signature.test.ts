import { createHash, createHmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import type { SourceData } from '@smithy/types';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createSigner } from '../../../shared/aws/request-signature.ts';

const toBytes = (data: SourceData): string | Uint8Array =>
  typeof data === 'string' || data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer);

/** SHA-256 as the SDK's signer wants it. */
class Sha256 {
  readonly #hash;
  constructor(secret?: SourceData) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', toBytes(secret));
  }
  update(data: SourceData): void {
    this.#hash.update(toBytes(data));
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
  reset(): void {}
}

const word = fc.stringMatching(/^[a-zA-Z0-9]{1,40}$/);

it('requests have the signature that the SDK gives them', async () => {
  const signers = new Map<string, ReturnType<typeof createSigner>>();
  const getSigner = (region: string) => signers.get(region) ?? createSigner('dynamodb', region);
  const property = fc.asyncProperty(
    fc.record({
      region: fc.constantFrom('eu-west-1', 'us-east-1'),
      credentials: fc.record(
        { accessKeyId: word, secretAccessKey: word, sessionToken: word },
        { requiredKeys: ['accessKeyId', 'secretAccessKey'] },
      ),
      body: fc.string({ unit: 'grapheme' }),
      target: word,
      now: fc.integer({ min: 0, max: 4_000_000_000_000 }),
    }),
    async ({ region, credentials, body, target, now }) => {
      const sign = getSigner(region);
      signers.set(region, sign);
      const host = `dynamodb.${region}.amazonaws.com`;
      const headers = sign({ host, path: '/', target, body }, credentials, now);
      const { authorization, 'content-length': _, ...unsigned } = headers;
      const signer = new SignatureV4({
        service: 'dynamodb',
        region,
        credentials,
        sha256: Sha256,
        applyChecksum: false,
      });
      const signed = await signer.sign(
        {
          ...{ method: 'POST', protocol: 'https:', hostname: host, path: '/', query: {}, body },
          headers: { ...unsigned },
        },
        { signingDate: new Date(now) },
      );
      expect(authorization).toBe(signed.headers['authorization']);
    },
  );
  await fc.assert(property);
});
