import { createServer, type Server } from 'node:http';
import { S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listen } from '../../../local/listen.ts';
import { createBucket } from '../../../shared/aws/bucket.ts';

const MAX_BYTES = 100_000;
const MEGABYTE = Buffer.alloc(1_000_000, 'x');

let server: Server;
let listening: Awaited<ReturnType<typeof listen>>;
let client: S3Client;
/** Writes to which S3 still responds that another conditional write is in progress. */
let conflicts = 0;
let writes = 0;
beforeEach(async () => {
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://localhost');
    if (request.method === 'POST') {
      const error = '<Error><Key>stuck</Key><Code>SlowDown</Code><Message>Please reduce your rate</Message></Error>';
      response.setHeader('content-type', 'application/xml');
      return void response.end(`<?xml version="1.0"?><DeleteResult>${error}</DeleteResult>`);
    }
    if (request.method === 'PUT') {
      conflicts -= 1;
      writes += 1;
      if (pathname.endsWith('/forbidden')) {
        response.writeHead(403, { 'content-type': 'application/xml' });
        return void response.end('<Error><Code>AccessDenied</Code></Error>');
      }
      response.writeHead(conflicts >= 0 ? 409 : 200, { 'content-type': 'application/xml' });
      return void response.end(conflicts >= 0 ? '<Error><Code>ConditionalRequestConflict</Code></Error>' : '');
    }
    if (pathname.endsWith('/small')) return void response.end('small');
    // The rest of the body never arrives.
    response.writeHead(200, pathname.endsWith('/sized') ? { 'content-length': 50 * MEGABYTE.byteLength } : {});
    response.write(MEGABYTE);
  });
  listening = await listen(server, { port: 0 });
  client = new S3Client({
    region: 'eu-west-1',
    endpoint: `http://127.0.0.1:${listening.port}`,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    forcePathStyle: true,
    requestHandler: { httpAgent: { maxSockets: 1 } },
  });
});
afterEach(async () => {
  client.destroy();
  server.closeAllConnections();
  await listening.close();
});

it.each([
  ['with a content length', 'sized'],
  ['without a content length', 'unsized'],
])('an object %s that is too large reads as undefined and frees its connection', async (_name, key) => {
  const bucket = createBucket(client, 'bodies');
  expect(await bucket.get(key, MAX_BYTES)).toBeUndefined();
  expect(Buffer.from((await bucket.get('small', MAX_BYTES)) ?? '').toString()).toBe('small');
});

it('remove fails if S3 reports that an object was not deleted', async () => {
  await expect(createBucket(client, 'bodies').remove(['gone', 'stuck'])).rejects.toThrow('SlowDown');
});

it('a conditional write is repeated while another one of the key is in progress', async () => {
  conflicts = 2;
  expect(await createBucket(client, 'bodies').put('input', Buffer.from('text'), true)).toBe(true);
});

it('a conditional write fails if another one of the key never ends', async () => {
  conflicts = 100;
  const write = createBucket(client, 'bodies').put('input', Buffer.from('text'), true);
  await expect(write).rejects.toMatchObject({ $metadata: { httpStatusCode: 409 } });
});

it('a conditional write that is refused for another reason is not repeated', async () => {
  writes = 0;
  const write = createBucket(client, 'bodies').put('forbidden', Buffer.from('text'), true);
  await expect(write).rejects.toMatchObject({ $metadata: { httpStatusCode: 403 } });
  expect(writes).toBe(1);
});
