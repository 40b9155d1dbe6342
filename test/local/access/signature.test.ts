import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { BedrockRuntimeClient, ConverseCommand } from '@aws-sdk/client-bedrock-runtime';
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { describe, expect, it } from 'vitest';
import { SignatureVerifier } from '../../../local/access/signature.ts';
import { startBedrock } from '../../../local/bedrock/server.ts';
import { startFaultProxy } from '../../../local/faults/proxy.ts';
import { startKms } from '../../../local/kms/server.ts';
import { startInvokeApi } from '../../../local/lambda/invoke-api.ts';
import { startObjects } from '../../../local/objects.ts';
import { startQueues } from '../../../local/queues.ts';
import { startTables } from '../../../local/tables.ts';
import { closeAfterwards, createEmptyResponse, useCleanup } from '../runners.ts';
import { createSigner, KEY, KEYS, type RawRequest, sendRaw } from './signed-requests.ts';

useCleanup();

type Call = (options: { endpoint: string; credentials: typeof KEY; region: string }) => Promise<unknown>;

/** Sends one request with AWS's own client and closes the client. */
async function call<Client extends { destroy(): void }>(client: Client, run: (client: Client) => Promise<unknown>) {
  try {
    return await run(client);
  } finally {
    client.destroy();
  }
}

const converse = new ConverseCommand({ modelId: 'm:0', messages: [{ role: 'user', content: [{ text: 'Hi' }] }] });
const respond = async function* () {};
const sendConverse = (client: BedrockRuntimeClient) =>
  client.send(converse).catch((error: { name: string }) => {
    // The stand-in has accepted the signature if it has gone as far as the empty answer.
    if (/Unrecognized|Signature|Missing/.test(error.name)) throw error;
  });

async function startKmsInFolder() {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(folder, { recursive: true }) });
  return startKms({ stateFile: join(folder, 'kms.json'), accessKeys: KEYS });
}

const STAND_INS: [name: string, start: () => Promise<{ url: string; close(): unknown }>, send: Call][] = [
  [
    'DynamoDB',
    () => startTables({ accessKeys: KEYS }),
    (options) =>
      call(new DynamoDBClient({ ...options, maxAttempts: 1 }), (client) => client.send(new ListTablesCommand({}))),
  ],
  [
    'SQS',
    () => startQueues({ accessKeys: KEYS }),
    (options) =>
      call(new SQSClient({ ...options, maxAttempts: 1 }), (client) =>
        client.send(new CreateQueueCommand({ QueueName: 'q' })),
      ),
  ],
  [
    'S3',
    () => startObjects({ accessKeys: KEYS }),
    (options) =>
      call(new S3Client({ ...options, maxAttempts: 1, forcePathStyle: true }), (client) =>
        client.send(new CreateBucketCommand({ Bucket: 'bucket' })),
      ),
  ],
  [
    'KMS',
    startKmsInFolder,
    (options) => call(new KMSClient({ ...options, maxAttempts: 1 }), (client) => client.send(new CreateKeyCommand({}))),
  ],
  [
    'Lambda',
    () => startInvokeApi({ invoke: async () => createEmptyResponse() }, { accessKeys: KEYS }),
    (options) =>
      call(new LambdaClient({ ...options, maxAttempts: 1 }), (client) =>
        client.send(
          new InvokeCommand({ FunctionName: 'arn:aws:lambda:eu-west-1:000000000000:function:f', Payload: '{}' }),
        ),
      ),
  ],
  [
    'Bedrock over HTTP/2',
    () => startBedrock({ respond, accessKeys: KEYS }),
    (options) => call(new BedrockRuntimeClient({ ...options, maxAttempts: 1 }), sendConverse),
  ],
  [
    'Bedrock over HTTP/1.1',
    () => startBedrock({ respond, accessKeys: KEYS }),
    (options) =>
      call(
        new BedrockRuntimeClient({ ...options, maxAttempts: 1, requestHandler: new NodeHttpHandler() }),
        sendConverse,
      ),
  ],
];

describe.each(STAND_INS)('the stand-in for %s', (name, start, send) => {
  it(`${name} accepts requests that AWS's client signs with a known key`, async () => {
    const { url } = closeAfterwards(await start());
    await send({ endpoint: url, credentials: KEY, region: 'eu-west-1' });
    await send({ endpoint: url.replace('127.0.0.1', 'localhost'), credentials: KEY, region: 'us-east-1' });
  });

  it(`${name} refuses an unknown key and a wrong secret, with AWS's errors`, async () => {
    const { url } = closeAfterwards(await start());
    const refuse = (credentials: typeof KEY) =>
      send({ endpoint: url, credentials, region: 'eu-west-1' }).then(
        () => 'accepted',
        (error: { name: string }) => error.name,
      );
    expect(await refuse({ ...KEY, accessKeyId: 'AKIAUNKNOWNKEY00' })).toMatch(
      /^(UnrecognizedClientException|InvalidAccessKeyId)$/,
    );
    expect(await refuse({ ...KEY, secretAccessKey: 'guessed' })).toMatch(
      /^(InvalidSignatureException|SignatureDoesNotMatch)$/,
    );
  });
});

const LIST: Required<RawRequest> = {
  method: 'POST',
  path: '/',
  headers: { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'DynamoDB_20120810.ListTables' },
  body: '{"Limit":1}',
};

/** Signs a request to DynamoDB as a client that signs at `signedAt`. */
async function signList(url: string, options: { signedAt?: number; checksum?: boolean } = {}): Promise<RawRequest> {
  const { hostname, port, host } = new URL(url);
  const { signedAt = Date.now(), checksum = true } = options;
  const { headers } = await createSigner('dynamodb', { checksum }).sign(
    { ...LIST, protocol: 'http:', hostname, port: Number(port), headers: { ...LIST.headers, host } },
    { signingDate: new Date(signedAt) },
  );
  return { ...LIST, headers };
}

describe('a signature', () => {
  it('a signature without the header of the body’s hash, as boto3 and the AWS CLI make it, covers the body', async () => {
    const { url } = closeAfterwards(await startTables({ accessKeys: KEYS }));
    const signed = await signList(url, { checksum: false });
    expect(signed.headers).not.toHaveProperty('x-amz-content-sha256');
    expect((await sendRaw(url, signed)).status).toBe(200);
    const altered = await sendRaw(url, { ...signed, body: '{"Limit":2}' });
    expect([altered.status, JSON.parse(altered.body)]).toMatchObject([400, { __type: 'InvalidSignatureException' }]);
  });

  it('a signature with the body’s hash covers the body', async () => {
    const { url } = closeAfterwards(await startTables({ accessKeys: KEYS }));
    const altered = await sendRaw(url, { ...(await signList(url)), body: '{"Limit":2}' });
    expect([altered.status, JSON.parse(altered.body)]).toMatchObject([400, { __type: 'InvalidSignatureException' }]);
  });

  it('a signature is valid for 15 minutes before and after its time', async () => {
    const { url } = closeAfterwards(await startTables({ accessKeys: KEYS }));
    const statuses = [-16, -14, 14, 16].map(async (minutes) => {
      const signed = await signList(url, { signedAt: Date.now() + minutes * 60_000 });
      return (await sendRaw(url, signed)).status;
    });
    expect(await Promise.all(statuses)).toEqual([400, 200, 200, 400]);
  });

  it('a request without a signature, or with one for another service, is refused', async () => {
    const { url } = closeAfterwards(await startTables({ accessKeys: KEYS }));
    const unsigned = await sendRaw(url, LIST);
    expect([unsigned.status, JSON.parse(unsigned.body)]).toMatchObject([
      400,
      { __type: 'MissingAuthenticationTokenException' },
    ]);
    const queues = closeAfterwards(await startQueues({ accessKeys: KEYS }));
    const forTables = await signList(queues.url);
    expect((await sendRaw(queues.url, forTables)).status).toBe(400);
  });

  it('a signature passes a fault proxy, which signs a request again whose body it rewrites', async () => {
    const { url: target } = closeAfterwards(await startTables({ accessKeys: KEYS }));
    const common = { service: 'dynamodb', target, random: () => 0 } as const;
    const plain = closeAfterwards(await startFaultProxy(common));
    const rewrite = () => Buffer.from('{"Limit":100}');
    const rewriting = closeAfterwards(await startFaultProxy({ ...common, rewrite, accessKeys: KEYS }));
    const unsigned = closeAfterwards(await startFaultProxy({ ...common, rewrite }));
    for (const checksum of [true, false]) {
      for (const { url } of [plain, rewriting]) {
        expect((await sendRaw(url, await signList(url, { checksum }))).status).toBe(200);
      }
      expect((await sendRaw(unsigned.url, await signList(unsigned.url, { checksum }))).status).toBe(400);
    }
  });

  it('a request with a session token needs the key that has this token', () => {
    const head = { method: 'GET', url: '/', headers: {} };
    const now = Date.UTC(2026, 10, 29);
    const keys = new Map([[KEY.accessKeyId, { ...KEY, sessionToken: 'token' }]]);
    const verifier = new SignatureVerifier('dynamodb', keys, () => now);
    const authorization = `AWS4-HMAC-SHA256 Credential=${KEY.accessKeyId}/20261129/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`;
    const headers = { authorization, 'x-amz-date': '20261129T000000Z' };
    expect(verifier.findProblem({ ...head, headers }, [])).toBe('unknownKey');
    const withToken = { ...headers, 'x-amz-security-token': 'token' };
    expect(verifier.findProblem({ ...head, headers: withToken }, [])).toBe('mismatch');
  });
});

describe('the stand-in for S3', () => {
  async function startBucket() {
    const { url } = closeAfterwards(await startObjects({ accessKeys: KEYS }));
    const client = new S3Client({ endpoint: url, region: 'eu-west-1', credentials: KEY, maxAttempts: 1 });
    closeAfterwards({ close: () => client.destroy() });
    await client.send(new CreateBucketCommand({ Bucket: 'bucket' }));
    const read = async (Key: string) =>
      (await client.send(new GetObjectCommand({ Bucket: 'bucket', Key }))).Body?.transformToString();
    return { url, client, read };
  }

  it('S3 accepts bodies in one piece and as streams, and keys with any characters', async () => {
    const { client, read } = await startBucket();
    const text = 'x'.repeat(300_000);
    for (const Key of ['plain', "folder/a b+c(d)'e*~é!.txt"]) {
      await client.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: text }));
      expect(await read(Key)).toBe(text);
      // The client sends a stream in chunks with a checksum after them, and does not sign its content.
      const Body = Readable.from([Buffer.from(text), Buffer.from('end')]);
      const ContentLength = text.length + 3;
      await client.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body, ContentLength }));
      expect(await read(Key)).toBe(`${text}end`);
    }
  });

  it('S3 accepts presigned URLs until they expire', async () => {
    const { url, client } = await startBucket();
    await client.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'a b', Body: 'text' }));
    const { hostname, port, host } = new URL(url);
    const presign = async (signedAt: number, expiresIn: number) => {
      const { query = {} } = await createSigner('s3').presign(
        {
          method: 'GET',
          protocol: 'http:',
          hostname,
          port: Number(port),
          path: '/bucket/a%20b',
          // As AWS's presigner for S3 does.
          headers: { host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
          query: {},
        },
        { signingDate: new Date(signedAt), expiresIn },
      );
      return `/bucket/a%20b?${new URLSearchParams(query as Record<string, string>)}`;
    };
    const get = async (path: string) => {
      const { status, body } = await sendRaw(url, { method: 'GET', path });
      return [status, body.replace(/.*<Code>(.*)<\/Code>.*/s, '$1')];
    };
    expect(await get(await presign(Date.now() - 3_000_000, 3600))).toEqual([200, 'text']);
    expect(await get(await presign(Date.now() - 3_700_000, 3600))).toEqual([403, 'AccessDenied']);
    expect(await get(`${await presign(Date.now(), 3600)}&more=1`)).toEqual([403, 'SignatureDoesNotMatch']);
    expect(await get('/bucket/a%20b')).toEqual([403, 'AccessDenied']);
  });
});

/** The example of https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html */
const EXAMPLE = {
  now: Date.UTC(2013, 4, 24),
  key: { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' },
  head: {
    method: 'PUT',
    url: '/examplebucket/chunkObject.txt',
    headers: {
      host: 's3.amazonaws.com',
      'x-amz-date': '20130524T000000Z',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
      'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'content-encoding': 'aws-chunked',
      'x-amz-decoded-content-length': '66560',
      'content-length': '66824',
    },
  },
  body: Buffer.from(
    [
      `10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n${'a'.repeat(65_536)}\r\n`,
      `400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n${'a'.repeat(1_024)}\r\n`,
      '0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n',
    ].join(''),
  ),
};

describe("AWS's example of a body whose chunks are signed", () => {
  const verifier = new SignatureVerifier('s3', new Map([[EXAMPLE.key.accessKeyId, EXAMPLE.key]]), () => EXAMPLE.now);

  it('the example is valid', () => {
    expect(EXAMPLE.body.length).toBe(66_824);
    expect(verifier.findProblem(EXAMPLE.head, [EXAMPLE.body])).toBeUndefined();
  });

  it.each([
    ['one byte is altered', (body: string) => body.replace('aaa', 'aab')],
    ['the last chunk is missing', (body: string) => body.slice(0, body.lastIndexOf('0;chunk'))],
    ['a chunk is missing', (body: string) => body.replace(/^400;.*\r\na*\r\n/m, '')],
    ['it ends early', (body: string) => body.slice(0, 1_000)],
    ['it is no list of chunks', () => 'text'],
  ])('the example is refused if %s', (_case, change) => {
    const body = Buffer.from(change(EXAMPLE.body.toString()));
    expect(body.equals(EXAMPLE.body)).toBe(false);
    expect(verifier.findProblem(EXAMPLE.head, [body])).toBe('mismatch');
  });
});
