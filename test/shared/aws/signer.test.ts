import { hash } from 'node:crypto';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSigner } from '../../../shared/aws/signer.ts';

const REGION = 'eu-central-1';

function aRequest(body: string) {
  const headers = { host: 'dynamodb.eu-central-1.amazonaws.com', 'x-amz-target': 'DynamoDB_20120810.PutItem' };
  return { method: 'POST', protocol: 'https:', hostname: headers.host, path: '/', headers, body };
}

const texts = fc.string({ unit: 'binary' });
const accessKeys = fc.record(
  {
    accessKeyId: fc.string({ minLength: 1 }),
    secretAccessKey: fc.string({ unit: 'binary', minLength: 1 }),
    sessionToken: fc.string({ minLength: 1 }),
  },
  { requiredKeys: ['accessKeyId', 'secretAccessKey'] },
);
/** Days, because each has a signing key of its own. */
const dates = fc.date({ min: new Date('2026-11-28'), max: new Date('2026-12-02'), noInvalidDate: true });

describe('the signer', () => {
  it('signs each request as the SDK’s own signer does', async () => {
    await fc.assert(
      fc.asyncProperty(texts, accessKeys, dates, async (body, credentials, signingDate) => {
        const client = new DynamoDBClient({ region: REGION, credentials });
        const expected = await (await client.config.signer()).sign(aRequest(body), { signingDate });
        const signer = await createSigner('dynamodb', () => client.config)();
        // Twice, because the second request finds its keys in the cache.
        for (let times = 0; times < 2; times += 1) {
          expect(await signer.sign(aRequest(body), { signingDate })).toEqual(expected);
        }
        expect(expected.headers['x-amz-content-sha256']).toBe(hash('sha256', body));
      }),
    );
  });

  it('is constructed once, with the configuration at the first request', async () => {
    let calls = 0;
    const getSigner = createSigner('sqs', () => {
      calls += 1;
      return { region: REGION, credentials: { accessKeyId: 'id', secretAccessKey: 'secret' } };
    });
    expect(calls).toBe(0);
    expect(await getSigner()).toBe(await getSigner());
    expect(calls).toBe(1);
  });
});
