import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';
import { startObjects } from '../../local/objects.ts';
import { createReferences } from '../../local/service/references.ts';
import { createServiceWith } from './event-sources/queues.ts';
import { closeAfterwards, useCleanup } from './runners.ts';

useCleanup();

const Bucket = 'bodies';

async function createFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(folder, { recursive: true, force: true }) });
  return folder;
}

/** Starts the S3 stand-in with the bucket `bodies`. */
async function start(path: string) {
  const objects = await startObjects({ path });
  const service = createServiceWith({ Bodies: { Type: 'AWS::S3::Bucket', Properties: { BucketName: Bucket } } });
  await objects.create(service, createReferences(service, ''));
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new S3Client({ endpoint: objects.url, region: 'eu-west-1', credentials, maxAttempts: 1 });
  closeAfterwards({ close: () => client.destroy() });
  let closed: Promise<void> | undefined;
  const close = () => (closed ??= objects.close());
  closeAfterwards({ close });
  return {
    client,
    close,
    put: (Key: string, Body: string | Uint8Array, more: object = {}) =>
      client.send(new PutObjectCommand({ Bucket, Key, Body, ...more })),
    async get(Key: string) {
      const { Body, ContentType, Metadata } = await client.send(new GetObjectCommand({ Bucket, Key }));
      return { text: await Body?.transformToString(), ContentType, Metadata };
    },
    async keys() {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
      return Contents.map(({ Key }) => Key);
    },
  };
}

describe('the S3 stand-in', () => {
  it('rejects a conditional write of an S3 object that exists', async () => {
    const { put, get } = await start(await createFolder());
    await put('input', 'first', { IfNoneMatch: '*' });
    await expect(put('input', 'second', { IfNoneMatch: '*' })).rejects.toMatchObject({
      $metadata: { httpStatusCode: 412 },
    });
    expect(await get('input')).toMatchObject({ text: 'first' });
    await put('input', 'third');
    expect(await get('input')).toMatchObject({ text: 'third' });
  });

  it('accepts one of several conditional writes of an S3 object that arrive together', async () => {
    const { put } = await start(await createFolder());
    const results = await Promise.allSettled(['a', 'b', 'c'].map((text) => put('input', text, { IfNoneMatch: '*' })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refused = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason.$metadata.httpStatusCode] : [],
    );
    for (const status of refused) expect([409, 412]).toContain(status);
  });

  it('refuses an S3 key of more than 1,024 bytes', async () => {
    const { put, get } = await start(await createFolder());
    const longest = `folder/${'语'.repeat(339)}`;
    await put(longest, 'text');
    expect(await get(longest)).toMatchObject({ text: 'text' });
    const tooLong = { name: 'KeyTooLongError', $metadata: { httpStatusCode: 400 } };
    await expect(put(`${longest}x`, 'text')).rejects.toMatchObject(tooLong);
    await expect(get(`${longest}x`)).rejects.toMatchObject(tooLong);
  });

  it('an S3 object survives a restart with its bytes, content type and metadata', async () => {
    const path = await createFolder();
    const first = await start(path);
    const bytes = Buffer.from([0, 255, 10, 13]);
    await first.put('acme/job/1/input', bytes, { ContentType: 'image/png', Metadata: { owner: 'acme' } });
    await first.close();
    const second = await start(path);
    expect(await second.get('acme/job/1/input')).toEqual({
      text: bytes.toString('utf8'),
      ContentType: 'image/png',
      Metadata: { owner: 'acme' },
    });
  });

  it.each(['ümläut & <tags>.txt', 'with spaces/🌍', `${'long'.repeat(250)}`, 'a:b*c?d|e"f', 'ends with/'])(
    'an S3 object with the key %s survives a restart and can be deleted',
    async (key) => {
      const path = await createFolder();
      const first = await start(path);
      await first.put(key, 'text');
      await first.close();
      const second = await start(path);
      expect(await second.keys()).toEqual([key]);
      expect((await second.get(key)).text).toBe('text');
      await second.client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: key }] } }));
      await second.close();
      expect(await (await start(path)).keys()).toEqual([]);
    },
  );

  it('an S3 object has its latest content after a restart', async () => {
    const path = await createFolder();
    const first = await start(path);
    await Promise.all(Array.from({ length: 20 }, (_, index) => first.put('counter', String(index))));
    const { text } = await first.get('counter');
    await first.close();
    const second = await start(path);
    expect((await second.get('counter')).text).toBe(text);
    await second.put('counter', 'new');
    await second.close();
    expect((await (await start(path)).get('counter')).text).toBe('new');
  });

  it('a deleted S3 object stays deleted after a restart, and its file is deleted', async () => {
    const path = await createFolder();
    const first = await start(path);
    for (const key of ['one', 'two', 'three']) await first.put(key, key);
    await first.client.send(new DeleteObjectCommand({ Bucket, Key: 'one' }));
    await first.client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: 'two' }] } }));
    await first.close();
    expect(await (await start(path)).keys()).toEqual(['three']);
    const files = await readdir(path, { recursive: true, withFileTypes: true });
    expect(files.filter((file) => file.isFile())).toHaveLength(2);
  });

  it('a copy of an S3 object survives a restart', async () => {
    const path = await createFolder();
    const first = await start(path);
    await first.put('source', 'text');
    await first.client.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/source` }));
    await first.close();
    expect((await (await start(path)).get('copy')).text).toBe('text');
  });

  it('a change of an S3 object is saved once: its file is not written again after the response', async () => {
    const path = await createFolder();
    const { put } = await start(path);
    await put('large', Buffer.alloc(8_000_000));
    const file = (await readdir(path, { recursive: true })).find((name) => name.endsWith('.data')) ?? '';
    const { ino } = await stat(join(path, file));
    await new Promise((wake) => setTimeout(wake, 200));
    expect((await stat(join(path, file))).ino).toBe(ino);
  });

  it('an S3 object stored by version 0.1.0 is restored, and can be replaced and deleted', async () => {
    const path = await createFolder();
    const folder = join(path, 'buckets', Bucket, 'objects', 'acme', 'job');
    await mkdir(folder, { recursive: true });
    for (const name of ['one', 'two']) {
      const metadata = { key: `acme/job/${name}`, contentType: 'text/plain', metadata: { v: '1' }, etag: '"x"' };
      await writeFile(join(folder, `${name}.meta.json`), JSON.stringify(metadata));
      await writeFile(join(folder, `${name}.data`), name);
    }
    const first = await start(path);
    expect(await first.get('acme/job/one')).toEqual({ text: 'one', ContentType: 'text/plain', Metadata: { v: '1' } });
    await first.put('acme/job/one', 'replaced');
    await first.client.send(new DeleteObjectCommand({ Bucket, Key: 'acme/job/two' }));
    await first.close();
    const second = await start(path);
    expect(await second.keys()).toEqual(['acme/job/one']);
    expect((await second.get('acme/job/one')).text).toBe('replaced');
  });
});
