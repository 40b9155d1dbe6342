import { hash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { buildApp } from 'fauxqs';
import * as v from 'valibot';

type App = ReturnType<typeof buildApp>;
type Headers = Readonly<Record<string, unknown>>;

/** The content of `<name>.meta.json`, which is stored beside an object's bytes (`<name>.data`). */
const metadataSchema = v.object({
  key: v.string(),
  headers: v.optional(v.record(v.string(), v.string()), {}),
  // Written by versions of Lambent up to 0.1.0, instead of `headers`.
  contentType: v.optional(v.string()),
  metadata: v.optional(v.record(v.string(), v.string()), {}),
});
type Metadata = v.InferOutput<typeof metadataSchema>;

const DATA = '.data';
const METADATA = '.meta.json';
/** Matches the headers that PutObject stores and GetObject returns. */
const STORED_HEADER = /^(content-(type|language|disposition|encoding)|cache-control|x-amz-meta-.+)$/;
const MUTATIONS = ['PUT', 'POST', 'DELETE'];

/**
 * Makes a fauxqs app ready to serve S3: restores the objects in `folder`, and from then on saves each change there
 * before it responds. fauxqs can do the same, but only in its own server, which listens on every address of the
 * machine.
 */
export async function restoreObjects(app: App, folder: string): Promise<void> {
  const buckets = join(folder, 'buckets');
  /** Paths of objects' files without extension, by bucket and key. */
  const paths = new Map<string, string>();
  let isRestored = false;
  let saving: Promise<void> = Promise.resolve();

  async function save(bucket: string, key: string): Promise<void> {
    const { statusCode, rawPayload, headers } = await app.inject({ method: 'GET', url: buildUrl(bucket, key) });
    const id = `${bucket}/${key}`;
    // Keys can be longer than file names and contain characters that file names can't.
    const path = paths.get(id) ?? join(buckets, bucket, 'objects', hash('sha256', key));
    if (statusCode === 404) {
      paths.delete(id);
      await rm(path + METADATA, { force: true });
      await rm(path + DATA, { force: true });
    } else {
      paths.set(id, path);
      await replaceFile(path + DATA, rawPayload);
      await replaceFile(path + METADATA, JSON.stringify({ key, headers: selectStoredHeaders(headers) }));
    }
  }

  /** Requests whose changes are being saved. */
  const pending = new WeakSet<object>();
  app.addHook('onSend', (request, reply, payload, done) => {
    if (!isRestored || !MUTATIONS.includes(request.method) || reply.statusCode >= 300) return done(null, payload);
    // fauxqs's handlers send their response but don't return it, so Fastify sends a second, empty response while the
    // first one waits. The second one is dropped: `done` is not called.
    if (pending.has(request)) return;
    pending.add(request);
    // Changes are saved one at a time, so that two changes of an object are saved in their order.
    saving = saving
      .catch(() => undefined)
      .then(async () => {
        for (const { bucket, key } of listChangedObjects(request)) await save(bucket, key);
      })
      .finally(() => pending.delete(request));
    saving.then(() => done(null, payload), done);
  });
  await app.ready();
  for (const bucket of await readdir(buckets).catch(() => [])) {
    await app.inject({ method: 'PUT', url: `/${bucket}` });
    for (const path of await findObjects(join(buckets, bucket))) {
      const metadata = v.parse(metadataSchema, JSON.parse(await readFile(path + METADATA, 'utf8')));
      const payload = await readFile(path + DATA);
      await app.inject({
        method: 'PUT',
        url: buildUrl(bucket, metadata.key),
        headers: buildHeaders(metadata),
        payload,
      });
      paths.set(`${bucket}/${metadata.key}`, path);
    }
  }
  isRestored = true;
}

const objectParams = v.object({ bucket: v.string(), '*': v.optional(v.string(), '') });

/** Lists the objects that a request may have changed. */
function listChangedObjects(request: { readonly params: unknown; readonly headers: Headers; readonly body: unknown }) {
  const { success, output: params } = v.safeParse(objectParams, request.params);
  if (!success) return [];
  const { bucket, '*': key } = params;
  const renamed = request.headers['x-amz-rename-source'];
  if (typeof renamed === 'string') {
    const source = decodeURIComponent(renamed).replace(`/${bucket}/`, '');
    return [source, key].map((each) => ({ bucket, key: each }));
  }
  if (key !== '') return [{ bucket, key }];
  // DeleteObjects names its keys in XML.
  const keys = String(request.body ?? '').matchAll(/<Key>(.*?)<\/Key>/gs);
  return [...keys].map(([, escaped = '']) => ({ bucket, key: unescapeXml(escaped) }));
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

function unescapeXml(text: string): string {
  return text
    .replace(/&#(x?)([\da-f]+);/gi, (_, hex: string, code: string) =>
      String.fromCodePoint(Number.parseInt(code, hex === '' ? 10 : 16)),
    )
    .replace(/&(\w+);/g, (entity, name: string) => ENTITIES[name] ?? entity);
}

function buildUrl(bucket: string, key: string): string {
  return `/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`;
}

function selectStoredHeaders(headers: Headers): Record<string, string> {
  const stored = Object.entries(headers).filter(([name]) => STORED_HEADER.test(name));
  return Object.fromEntries(stored.map(([name, value]) => [name, String(value)]));
}

function buildHeaders({ headers, contentType, metadata }: Metadata): Record<string, string> {
  const userMetadata = Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
  return { 'content-type': contentType ?? 'application/octet-stream', ...Object.fromEntries(userMetadata), ...headers };
}

/** Finds the objects below a folder, as paths of their files without extension. */
async function findObjects(folder: string): Promise<string[]> {
  const files = await readdir(folder, { recursive: true });
  return files.filter((file) => file.endsWith(METADATA)).map((file) => join(folder, file.slice(0, -METADATA.length)));
}

/** Replaces a file as a whole, so that a crash leaves either the old one or the new one. */
async function replaceFile(file: string, contents: Uint8Array | string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.draft`, contents);
  await rename(`${file}.draft`, file);
}
