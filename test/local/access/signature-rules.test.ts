import { createHmac, hash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  createStringToSign,
  deriveSigningKey,
  type RequestHead,
  type Scope,
} from '../../../local/access/canonical-request.ts';
import { SignatureVerifier } from '../../../local/access/signature.ts';
import { createSigner, KEY, KEYS } from './signed-requests.ts';

const NOW = Date.UTC(2026, 10, 29, 12);
const HOST = { protocol: 'http:', hostname: 'localhost', headers: { host: 'localhost' } };
const BODY = '{}';

const verify = (service: string, head: RequestHead, body = BODY) =>
  new SignatureVerifier(service, KEYS, () => NOW).findProblem(head, [Buffer.from(body)]);

/** Signs a request as a client that breaks rules, which AWS's own signer doesn't. */
function signFreely(
  {
    date = '20261129',
    signedHeaders = ['host', 'x-amz-date'],
    payloadHash = hash('sha256', BODY),
    service = 'dynamodb',
  },
  more: RequestHead['headers'] = {},
): RequestHead {
  const scope: Scope = { date, region: 'eu-west-1', service };
  const timestamp = '20261129T120000Z';
  const head = { method: 'POST', url: '/', headers: { host: 'localhost', 'x-amz-date': timestamp, ...more } };
  const unused = { accessKeyId: KEY.accessKeyId, signature: '', expiresIn: undefined, sessionToken: undefined };
  const text = createStringToSign(head, { ...unused, scope, signedHeaders, timestamp, payloadHash }, payloadHash);
  const signature = createHmac('sha256', deriveSigningKey(KEY.secretAccessKey, scope)).update(text).digest('hex');
  const credential = `${KEY.accessKeyId}/${date}/eu-west-1/${service}/aws4_request`;
  const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
  return { ...head, headers: { ...head.headers, authorization } };
}

describe('the rules for signatures', () => {
  it.each([
    [-900, undefined],
    [-901, 'skewed'],
    [900, undefined],
    [901, 'skewed'],
  ])('a request that was signed %i s from now has the problem: %s', async (seconds, problem) => {
    const request = { ...HOST, method: 'POST', path: '/', body: BODY };
    const signingDate = new Date(NOW + seconds * 1_000);
    const { headers } = await createSigner('dynamodb').sign(request, { signingDate });
    expect(verify('dynamodb', { method: 'POST', url: '/', headers })).toBe(problem);
  });

  it('a signature covers the host, and its day is that of its time', () => {
    expect(verify('dynamodb', signFreely({}))).toBeUndefined();
    expect(verify('dynamodb', signFreely({ signedHeaders: ['x-amz-date'] }))).toBe('mismatch');
    expect(verify('dynamodb', signFreely({ date: '20261128' }))).toBe('mismatch');
  });

  it('only S3 accepts a body that is not signed', () => {
    const payloadHash = 'UNSIGNED-PAYLOAD';
    const sign = (service: string) => signFreely({ payloadHash, service }, { 'x-amz-content-sha256': payloadHash });
    expect(verify('s3', sign('s3'))).toBeUndefined();
    expect(verify('dynamodb', sign('dynamodb'))).toBe('payloadMismatch');
  });

  describe('of presigned URLs', () => {
    async function presign(service: string, signedAt: number, expiresIn: number, payload?: string) {
      const headers = { ...HOST.headers, ...(payload === undefined ? {} : { 'x-amz-content-sha256': payload }) };
      const request = { ...HOST, headers, method: 'GET', path: '/', query: {} };
      const options = { signingDate: new Date(signedAt), expiresIn, unhoistableHeaders: new Set(Object.keys(headers)) };
      const { query = {} } = await createSigner(service, { checksum: false }).presign(request, options);
      return { method: 'GET', url: `/?${new URLSearchParams(query as Record<string, string>)}`, headers: HOST.headers };
    }

    it('a presigned URL is valid for up to seven days', async () => {
      const longest = await presign('s3', NOW, 604_800);
      expect(verify('s3', longest)).not.toBe('expired');
      for (const seconds of ['604801', '0', '-1']) {
        const url = longest.url.replace('Expires=604800', `Expires=${seconds}`);
        expect(url).not.toBe(longest.url);
        expect(verify('s3', { ...longest, url })).toBe('expired');
      }
    });

    it('a presigned URL is valid until its last second, and at most 15 minutes before its time', async () => {
      expect(verify('s3', await presign('s3', NOW - 60_000, 60))).not.toBe('expired');
      expect(verify('s3', await presign('s3', NOW - 61_000, 60))).toBe('expired');
      expect(verify('s3', await presign('s3', NOW + 900_000, 60))).not.toBe('expired');
      expect(verify('s3', await presign('s3', NOW + 901_000, 60))).toBe('expired');
    });
  });

  it('parameters of the same name are signed in the order of their values', async () => {
    const request = { ...HOST, method: 'POST', path: '/', query: { a: ['2', '1'], b: '0' }, body: BODY };
    const { headers } = await createSigner('dynamodb').sign(request, { signingDate: new Date(NOW) });
    expect(verify('dynamodb', { method: 'POST', url: '/?b=0&a=2&a=1', headers })).toBeUndefined();
  });

  it('spaces inside a header’s value are signed as one', async () => {
    const request = {
      ...HOST,
      method: 'POST',
      path: '/',
      headers: { host: 'localhost', 'x-amz-note': 'a   b' },
      body: BODY,
    };
    const { headers } = await createSigner('dynamodb').sign(request, { signingDate: new Date(NOW) });
    expect(verify('dynamodb', { method: 'POST', url: '/', headers })).toBeUndefined();
  });
});

/**
 * The example of https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html. Its last signature was made
 * with the algorithm AWS4-HMAC-SHA256-PAYLOAD; here it is that of AWS4-HMAC-SHA256-TRAILER, which the page demands.
 */
const TRAILERS = {
  key: { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' },
  head: {
    method: 'PUT',
    url: '/examplebucket/chunkObject.txt',
    headers: {
      host: 's3.amazonaws.com',
      'x-amz-date': '20130524T000000Z',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e',
      'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
      'content-encoding': 'aws-chunked',
      'x-amz-decoded-content-length': '66560',
      'x-amz-trailer': 'x-amz-checksum-crc32c',
    },
  },
  body: [
    `10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n${'a'.repeat(65_536)}\r\n`,
    `400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n${'a'.repeat(1_024)}\r\n`,
    '0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n',
    'x-amz-checksum-crc32c:sOO8/Q==\r\n',
    'x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n',
  ].join(''),
};

describe("AWS's example of a body with signed trailers", () => {
  const verifier = new SignatureVerifier('s3', new Map([[TRAILERS.key.accessKeyId, TRAILERS.key]]), () =>
    Date.UTC(2013, 4, 24),
  );

  it('the example is valid', () => {
    expect(verifier.findProblem(TRAILERS.head, [Buffer.from(TRAILERS.body)])).toBeUndefined();
  });

  it.each([
    ['a trailer is altered', (body: string) => body.replace('sOO8', 'sOO9')],
    ['the trailers have no signature', (body: string) => body.replace(/x-amz-trailer-signature.*\r\n/, '')],
    ['the trailers are missing', (body: string) => body.replace(/x-amz-[\s\S]*/, '')],
  ])('the example is refused if %s', (_case, change) => {
    const body = change(TRAILERS.body);
    expect(body).not.toBe(TRAILERS.body);
    expect(verifier.findProblem(TRAILERS.head, [Buffer.from(body)])).toBe('mismatch');
  });
});
