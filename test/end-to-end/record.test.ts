import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { KMSClient } from '@aws-sdk/client-kms';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { DeleteObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { STSClient } from '@aws-sdk/client-sts';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAuditCommand } from '../../infra/operate/audit.ts';
import { runTenantCommand } from '../../infra/operate/tenant.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { storeActs } from '../../shared/audit/act-table.ts';
import { createChainTable } from '../../shared/audit/chain-table.ts';
import { CHAINS, type Digest } from '../../shared/audit/digest.ts';
import type { Entry } from '../../shared/audit/entry.ts';
import { readPublicKey } from '../../shared/audit/kms-signer.ts';
import { verifyChain } from '../../shared/audit/verify.ts';
import { createBucket } from '../../shared/aws/bucket.ts';
import { formatDollars } from '../../shared/inference/cost.ts';
import { addSums, NO_USAGE, type UsageSums } from '../../shared/usage/usage-row.ts';
import { addUsage, readBucket } from '../../shared/usage/usage-table.ts';
import { stayWithin, waitUntil } from '../wait.ts';
import { addKeys } from './keys.ts';
import { type Service, startService } from './service.ts';

const PRICE = { inputPerMillion: 3, outputPerMillion: 15 };
let service: Service;
let aws: ReturnType<typeof createClients>;
beforeAll(async () => {
  service = await startService({ alias: { price: PRICE } });
  aws = createClients(service);
});
afterAll(async () => {
  for (const client of [aws.dynamodb, aws.s3, aws.kms]) client.destroy();
  await service[Symbol.asyncDispose]();
});

function createClients({ cloud: { endpoints, credentials } }: Service) {
  const common = { region: 'eu-west-1', credentials };
  const endpoint = (name: string) => endpoints[`AWS_ENDPOINT_URL_${name}`] ?? '';
  return {
    dynamodb: new DynamoDBClient({ ...common, endpoint: endpoint('DYNAMODB') }),
    s3: new S3Client({ ...common, endpoint: endpoint('S3'), forcePathStyle: true }),
    kms: new KMSClient({ ...common, endpoint: endpoint('KMS') }),
  };
}

const admin = () =>
  new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '-', maxRetries: 0 });

/** Returns the entries of the verified audit log. */
async function readAudit(onDigest: (digest: Digest) => void = () => {}): Promise<Entry[]> {
  const { USAGE_TABLE = '', AUDIT_BUCKET = '', AUDIT_KEY_ID = '' } = service.cloud.resources;
  const store = createChainTable({ client: aws.dynamodb, name: USAGE_TABLE });
  const objects = createBucket(aws.s3, AUDIT_BUCKET);
  const publicKey = await readPublicKey(aws.kms, AUDIT_KEY_ID);
  const entries: Entry[] = [];
  for (let chain = 0; chain < CHAINS; chain += 1) {
    const readHead = () => store.readHead(chain);
    const problem = await verifyChain(chain, {
      ...{ objects, publicKey, keptDays: 400, now: Date.now, readHead },
      head: await readHead(),
      onDigest(digest, found) {
        onDigest(digest);
        entries.push(...found);
      },
    });
    expect(problem).toBeUndefined();
  }
  return entries;
}

/** Returns what has been used in total, today and yesterday: the test may run at midnight. */
async function readTotal(): Promise<UsageSums> {
  const table = { client: aws.dynamodb, name: service.cloud.resources['USAGE_TABLE'] ?? '' };
  const today = Math.floor(Date.now() / 86_400_000) * 86_400;
  const days = await Promise.all([today - 86_400, today].map((day) => readBucket(table, '1d', day)));
  return days.flat().reduce((sum, { sums }) => addSums(sum, sums), NO_USAGE);
}

it("usage and costs are the sum of the answers' own, whether they were streamed or queued", async () => {
  await stayWithin('day');
  const { client } = service;
  const usages: { readonly input: number; readonly output: number }[] = [];
  const chats = Array.from({ length: 10 }, async (_, index) => {
    const { usage } = await client.chat.completions.create({
      model: 'compatible',
      messages: [{ role: 'user', content: 'word '.repeat(index + 1) }],
    });
    usages.push({ input: usage?.prompt_tokens ?? 0, output: usage?.completion_tokens ?? 0 });
  });
  const streams = Array.from({ length: 5 }, async () => {
    const stream = await client.responses.create({ model: 'compatible', input: 'Hi', stream: true, store: false });
    for await (const event of stream) {
      if (event.type !== 'response.completed') continue;
      const { input_tokens: input = 0, output_tokens: output = 0 } = event.response.usage ?? {};
      usages.push({ input, output });
    }
  });
  const jobs = Array.from({ length: 3 }, async () => {
    const { id } = await client.responses.create({ model: 'compatible', input: 'Hello there', background: true });
    const response = await waitUntil('the job has ended', async () => {
      const found = await client.responses.retrieve(id);
      return found.status === 'completed' ? found : undefined;
    });
    usages.push({ input: response.usage?.input_tokens ?? 0, output: response.usage?.output_tokens ?? 0 });
  });
  await Promise.all([...chats, ...streams, ...jobs]);
  await client.chat.completions.create({ model: 'absent', messages: [{ role: 'user', content: 'x' }] }).catch(() => {});

  const total = (name: 'input' | 'output') => BigInt(usages.reduce((sum, usage) => sum + usage[name], 0));
  const expected: UsageSums = {
    ...NO_USAGE,
    requests: 18n,
    inputTokens: total('input'),
    outputTokens: total('output'),
    // A dollar for a million tokens is a millionth of a dollar, 10⁶ picodollars, for a token.
    picodollars: total('input') * 3_000_000n + total('output') * 15_000_000n,
  };
  expect(expected.inputTokens).toBeGreaterThan(18n);
  await waitUntil('all usage is recorded', async () => (await readTotal()).requests >= 18n || undefined);
  expect(await readTotal()).toEqual(expected);

  const isRefusal = ({ status, errorCode, keyId }: Entry) =>
    status === 404 && errorCode === 'model_not_found' && keyId === 'local';
  const isAnswered = ({ outputTokens }: Entry) => outputTokens !== undefined;
  // A digest is written beside the usage of its entries, not before it.
  const entries = await waitUntil('all calls are in the audit log', async () => {
    const found = await readAudit();
    return found.some(isRefusal) && found.filter(isAnswered).length >= 18 && found;
  });
  const answered = entries.filter(isAnswered);
  expect(answered).toHaveLength(18);
  const { host } = new URL(service.upstream.baseUrl);
  for (const entry of answered) {
    expect(entry).toMatchObject({
      ...{ record: 'call', tenant: 'local', model: 'compatible' },
      ...{ provider: 'openai-compatible', upstreamModel: 'upstream-model', costUsd: expect.any(String) },
      ...{ location: host, sentTo: `openai-compatible:${host}` },
    });
  }
  expect(JSON.stringify(entries)).not.toMatch(/word word|Hello there/);
});

it("OpenAI's client reads usage and costs, grouped, filtered and by pages", async () => {
  const { usage } = admin().admin.organization;
  const start_time = Math.floor(Date.now() / 1000) - 86_400;
  const total = await readTotal();
  const { data } = await usage.completions({ start_time, group_by: ['project_id', 'model'] });
  const results = data.flatMap((bucket) => bucket.results) as unknown as Record<string, unknown>[];
  expect(results).toMatchObject([
    {
      object: 'organization.usage.completions.result',
      ...{ project_id: 'local', model: 'compatible', api_key_id: null },
      input_tokens: Number(total.inputTokens),
      output_tokens: Number(total.outputTokens),
      num_model_requests: Number(total.requests),
    },
  ]);
  const empty = await usage.completions({ start_time, models: ['other'], group_by: ['model'] });
  expect(empty.data.flatMap((bucket) => bucket.results)).toEqual([]);
  const [first, second] = [await usage.completions({ start_time, limit: 1 }), await usage.images({ start_time })];
  expect(first).toMatchObject({ object: 'page', data: [{ object: 'bucket' }], has_more: true });
  expect(second.data.every((bucket) => bucket.results.length === 0)).toBe(true);
  const next = await usage.completions({ start_time, limit: 1, page: first.next_page ?? '' });
  expect(next.data[0]?.start_time).toBe(first.data[0]?.end_time);
  await expect(usage.completions({ start_time, limit: 32 })).rejects.toMatchObject({ status: 400, param: 'limit' });

  const costs = await usage.costs({ start_time, group_by: ['line_item'] });
  expect(costs.data.flatMap((bucket) => bucket.results)).toMatchObject([
    { amount: { value: Number(total.picodollars) / 1e12, currency: 'usd' }, line_item: 'compatible' },
  ]);
  const csv = await fetch(`${service.cloud.url}/organization/costs?start_time=${start_time}&group_by[]=line_item`, {
    headers: { authorization: 'Bearer sk-admin-local', accept: 'text/csv' },
  });
  expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8');
  const [header, row, ...more] = (await csv.text()).split('\r\n');
  expect(header).toContain('start_time,end_time,object,amount.value,amount.currency');
  expect(row).toContain(`,${formatDollars(total.picodollars)},usd,`);
  expect(more).toEqual(['']);
});

it('costs are filtered by whole line items, whose names may have commas, and a list may be sent in both forms', async () => {
  const table = { client: aws.dynamodb, name: service.cloud.resources['USAGE_TABLE'] ?? '' };
  const call = {
    time: new Date().toISOString(),
    tenant: 'tiers',
    model: 'large',
    inputTokens: 1,
    route: 'POST /v1/responses',
  };
  const entries: Entry[] = [
    { ...call, id: 'audit_1', record: 'call', costUsd: '1' },
    { ...call, id: 'audit_2', record: 'call', costUsd: '2', serviceTier: 'flex' },
    { ...call, id: 'audit_3', record: 'settlement', costUsd: '4', tenant: 'killed' },
  ];
  // A chain of its own, so that its sequence begins at 1.
  const digest = { chain: CHAINS, sequence: 1 } as Digest;
  await addUsage(table, digest, entries);
  const { usage } = admin().admin.organization;
  const start_time = Math.floor(Date.now() / 1000) - 86_400;
  const read = async (query: object) => {
    const { data } = await usage.costs({
      start_time,
      project_ids: ['tiers', 'killed'],
      group_by: ['line_item'],
      ...query,
    });
    const results = data.flatMap((bucket) => bucket.results) as { line_item?: string }[];
    return results.map(({ line_item }) => line_item).sort();
  };
  expect(await read({})).toEqual(['large', 'large, estimated', 'large, flex']);
  expect(await read({ line_items: ['large, flex'] })).toEqual(['large, flex']);
  expect(await read({ line_items: ['large, estimated', 'large'] })).toEqual(['large', 'large, estimated']);
  const both = await fetch(
    `${service.cloud.url}/organization/costs?start_time=${start_time}&project_ids=tiers&project_ids[]=killed&format=csv`,
    { headers: { authorization: 'Bearer sk-admin-local' } },
  );
  expect(await both.text()).toContain(',7,usd,');
});

it("OpenAI's client lists administrative acts, filtered and by pages", async () => {
  const { projects, auditLogs } = admin().admin.organization;
  const { id } = await projects.create({ name: 'Website' });
  await projects.update(id, { name: 'Shop' });
  await projects.update(id, { name: 'Store' });
  await projects.archive(id);
  const found = await waitUntil('the acts are recorded', async () => {
    const { data } = await auditLogs.list({ project_ids: [id] });
    return data.length === 4 ? data : undefined;
  });
  const types = ['project.archived', 'project.updated', 'project.updated', 'project.created'];
  expect(found.map(({ type }) => type)).toEqual(types);
  expect(found[3]).toMatchObject({
    actor: { type: 'api_key', api_key: { id: 'local-admin' } },
    'project.created': { id, data: { name: 'Website' } },
  });
  const iterate = async (range: { after?: string; before?: string }) => {
    const pages = [];
    for await (const { type } of auditLogs.list({ project_ids: [id], limit: 1, ...range })) pages.push(type);
    return pages;
  };
  expect(await iterate({})).toEqual(types);
  const [after = '', before = ''] = [found[0]?.id, found[3]?.id];
  expect(await iterate({ before })).toEqual(['project.updated']);
  expect(await iterate({ after, before })).toEqual(['project.updated', 'project.updated']);
  const created = await auditLogs.list({ project_ids: [id], event_types: ['project.created'] });
  expect(created.data).toHaveLength(1);
  const earlier = await auditLogs.list({ effective_at: { lt: 1_000 } });
  expect(earlier.data).toEqual([]);
});

it('each call with an expired key is recorded with its project, whatever API Gateway has cached', async () => {
  const record = { tenant: 'late', keyId: 'late-key', scopes: TENANT_SCOPES, expiresAt: 1_000 };
  await addKeys(service.cloud, { 'sk-late': record });
  const options = { baseURL: service.cloud.url, apiKey: 'sk-late', maxRetries: 0 };
  const late = new OpenAI(options);
  const refused = { status: 401, code: 'invalid_api_key' };
  await expect(late.responses.create({ model: 'compatible', input: 'Hi' })).rejects.toMatchObject(refused);
  await expect(late.responses.retrieve('resp_any')).rejects.toMatchObject(refused);
  await expect(late.models.list()).rejects.toMatchObject(refused);
  const entries = await waitUntil('the calls are recorded', async () => {
    const found = (await readAudit()).filter(({ tenant }) => tenant === 'late');
    return found.length === 3 && found;
  });
  for (const entry of entries)
    expect(entry).toMatchObject({ record: 'call', status: 401, keyId: 'late-key', reason: 'expired' });
  expect(entries.map(({ route }) => route).sort()).toEqual([
    'GET /v1/models',
    'GET /v1/responses/{id}',
    'POST /v1/responses',
  ]);
});

it('an act of the service itself has no actor in the list', async () => {
  const table = { client: aws.dynamodb, name: service.cloud.resources['USAGE_TABLE'] ?? '' };
  const act = { record: 'act', act: 'api_key.expiring', objectId: 'web', project: 'unattended' } as const;
  await storeActs(table, [{ id: `audit_${'0'.repeat(24)}`, time: new Date().toISOString(), ...act }], 1);
  const { data } = await admin().admin.organization.auditLogs.list({ project_ids: ['unattended'] });
  expect(data).toMatchObject([{ type: 'api_key.expiring', actor: null }]);
});

describe('npm run audit -- … --local', () => {
  /** Runs a command. Returns the lines that it exports and its report. */
  const audit = (...args: string[]) => auditAt(Date.now(), ...args);
  async function auditAt(now: number, ...args: string[]) {
    const exported: string[] = [];
    const report: string[] = [];
    await runAuditCommand([...args, '--local'], {
      localEnvironment: () => readFile(join(service.stateDir, 'env'), 'utf8'),
      print: (line) => void exported.push(line),
      report: (line) => void report.push(line),
      now: () => now,
    });
    return { exported, report: report.join('\n') };
  }

  /** Returns the digests of a chain that has several, in their order. The chain of a batch of log lines is random. */
  const readLongChain = () =>
    waitUntil('a chain has two digests', async (): Promise<readonly Digest[] | undefined> => {
      const digests: Digest[] = [];
      await readAudit((digest) => void digests.push(digest));
      const chains = [...Map.groupBy(digests, ({ chain }) => chain).values()];
      const long = chains.find(({ length }) => length > 1);
      if (long === undefined) await admin().admin.organization.projects.create({ name: 'Another digest' });
      return long;
    });

  it('verifies the log and exports the entries of a tenant', async () => {
    const { exported, report } = await audit('export', '--project', 'local');
    expect(report).toContain('complete and unchanged');
    expect(exported.length).toBeGreaterThan(18);
    expect(exported.map((line) => JSON.parse(line).tenant)).toEqual(exported.map(() => 'local'));
    expect((await audit('export', '--project', 'other')).exported).toEqual([]);
    expect((await audit('verify')).exported).toEqual([]);
  });

  it('continues where an earlier run ended', async () => {
    const before = join(service.stateDir, 'report.txt');
    const { report } = await audit('verify');
    await writeFile(before, report);
    const { id } = await admin().admin.organization.projects.create({ name: 'Later' });
    await waitUntil('the act is in the audit log', async () =>
      (await readAudit()).some(({ project }) => project === id),
    );
    const continued = await audit('export', '--project', id, '--from', before);
    expect(continued.exported.map((line) => JSON.parse(line).act)).toContain('project.created');
    expect(continued.report).toContain('complete and unchanged since it was last verified');
    const count = (text: string) => [...text.matchAll(/: (\d+) digests/g)].reduce((sum, [, n]) => sum + Number(n), 0);
    expect(count(continued.report)).toBeLessThan(count((await audit('verify')).report));
    // A chain without a line of its own begins with its first digest.
    await writeFile(
      before,
      report
        .split('\n')
        .filter((line) => line.includes('verified to'))
        .slice(1)
        .join('\n'),
    );
    expect((await audit('verify', '--from', before)).report).toContain('complete and unchanged');
  });

  it('exports the erasure of a tenant', async () => {
    const { id } = await admin().admin.organization.projects.create({ name: 'Erased' });
    const text = await readFile(join(service.stateDir, 'env'), 'utf8');
    const environment = Object.fromEntries(
      [...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
    );
    const configure = (name: string) => ({
      ...{ region: 'eu-west-1', endpoint: environment[`AWS_ENDPOINT_URL_${name}`] },
      credentials: service.cloud.credentials,
    });
    await runTenantCommand(['erase', id, '--yes'], {
      createClient: () => new DynamoDBClient(configure('DYNAMODB')),
      createLambda: () => new LambdaClient(configure('LAMBDA')),
      createSts: () => new STSClient(),
      ...{ environment, print: () => {}, now: Date.now },
    });
    const { exported } = await audit('export', '--project', id);
    expect(exported.map((line) => JSON.parse(line).act)).toContain('project.erased');
    const { data } = await admin().admin.organization.auditLogs.list({ project_ids: [id] });
    expect(data[0]).toMatchObject({ type: 'project.erased', 'project.erased': { id } });
  });

  it.each([
    [['export'], '--project is missing'],
    [['verify', '--project', 'local'], 'verify takes no --project'],
    [['verify', '--from', 'package.json'], '--from is no report of an earlier run'],
    [['verify', '--retention-days', '0'], "--retention-days has an invalid value: '0'"],
    [['verify', '--stage', 'dev'], '--local takes neither --stage nor --region'],
  ])('refuses invalid arguments: %j', async (args, message) => {
    await expect(audit(...args)).rejects.toThrow(message);
  });

  it('names objects that no recorder has written, and entries without a digest', async () => {
    const [first] = await readLongChain();
    if (first === undefined) throw new Error('The chain is empty');
    const Bucket = service.cloud.resources['AUDIT_BUCKET'];
    const prefix = `audit/${first.chain}`;
    const put = (Key: string) => aws.s3.send(new PutObjectCommand({ Bucket, Key, Body: gzipSync('{}\n') }));
    const forged = `${prefix}/entries/2026-11-30/forged.ndjson.gz`;
    await put(forged);
    const { exported, report } = await audit('export', '--project', 'forger');
    expect(report).toContain(`chain ${first.chain}: no digest for ${forged}\n`);
    expect(report).toMatch(/The audit log is complete and unchanged\.$/);
    expect(exported).toEqual([]);

    const others = ['digests/000000000001.json.bak', 'digests/copies/000000000001.json', 'notes.txt'];
    for (const name of others) await put(`${prefix}/${name}`);
    const lines = others.map((name) => `chain ${first.chain}: ${prefix}/${name}`);
    await expect(audit('verify')).rejects.toMatchObject({
      message: ['The bucket has objects that no recorder has written:', ...lines].join('\n'),
    });
    for (const name of others) await aws.s3.send(new DeleteObjectCommand({ Bucket, Key: `${prefix}/${name}` }));
  });

  it('names the first entries of a chain that are missing or changed', async () => {
    const [first, second] = await readLongChain();
    if (first === undefined || second === undefined) throw new Error('no chain has two digests');
    const Bucket = service.cloud.resources['AUDIT_BUCKET'];
    await aws.s3.send(new DeleteObjectCommand({ Bucket, Key: second.entries.key }));
    const missing = `chain ${first.chain}, digest ${second.sequence}: its entries are missing: ${second.entries.key}`;
    await expect(audit('verify')).rejects.toThrow(missing);
    await expect(audit('verify', '--retention-days', '30')).rejects.toThrow(missing);
    const later = Date.now() + 31 * 86_400_000;
    await expect(auditAt(later, 'verify')).rejects.toThrow(missing);
    expect((await auditAt(later, 'verify', '--retention-days', '30')).report).toContain('complete and unchanged');

    await aws.s3.send(new PutObjectCommand({ Bucket, Key: first.entries.key, Body: gzipSync('{}\n') }));
    const changed = `chain ${first.chain}, digest ${first.sequence}: its entries were changed: ${first.entries.key}`;
    await expect(audit('verify')).rejects.toMatchObject({
      message: `The audit log has gaps or changes. The first of each chain:\n${changed}`,
    });
  });
});
