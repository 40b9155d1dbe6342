import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand, KMSClient, ListAliasesCommand } from '@aws-sdk/client-kms';
import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import type { FaultyService } from '../../../local/faults/fault-responses.ts';
import { type StartedFaults, startFaults } from '../../../local/faults/faults.ts';
import { type Exchange, type Fault, startFaultProxy } from '../../../local/faults/proxy.ts';
import { startKms } from '../../../local/kms/server.ts';
import { startObjects } from '../../../local/objects.ts';
import { startQueues } from '../../../local/queues.ts';
import { startTables } from '../../../local/tables.ts';
import { closeAfterwards, useCleanup } from '../runners.ts';

useCleanup();

const REGION = 'eu-west-1';
const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };

async function startWithFaults(seed = 1): Promise<StartedFaults> {
  const dir = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(dir, { recursive: true, force: true }) });
  const [tables, queues, kms, objects] = await Promise.all([
    startTables({}),
    startQueues(),
    startKms({ stateFile: join(dir, 'kms.json') }),
    startObjects(),
  ]);
  for (const part of [tables, queues, kms, objects]) closeAfterwards(part);
  const targets = { dynamodb: tables.url, sqs: queues.url, kms: kms.url, s3: objects.url };
  return closeAfterwards(await startFaults({ seed }, targets));
}

/** Returns a call of each service, through its proxy, with a client that makes up to `maxAttempts` attempts. */
function createCalls({ urls }: StartedFaults, maxAttempts = 1): Record<FaultyService, () => Promise<unknown>> {
  const options = (service: FaultyService) => ({ endpoint: urls[service], region: REGION, credentials, maxAttempts });
  const dynamodb = new DynamoDBClient(options('dynamodb'));
  const sqs = new SQSClient(options('sqs'));
  const kms = new KMSClient(options('kms'));
  const s3 = new S3Client(options('s3'));
  for (const client of [dynamodb, sqs, kms, s3]) closeAfterwards({ close: () => client.destroy() });
  return {
    dynamodb: () => dynamodb.send(new ListTablesCommand({})),
    sqs: () => sqs.send(new ListQueuesCommand({})),
    kms: () => kms.send(new ListAliasesCommand({})),
    s3: () => s3.send(new ListBucketsCommand({})),
  };
}

const SERVICES: readonly FaultyService[] = ['dynamodb', 'sqs', 'kms', 's3'];

describe('faults', () => {
  it('faults are not injected unless they are set', async () => {
    const faults = await startWithFaults();
    const calls = createCalls(faults);
    for (const service of SERVICES) await calls[service]();
    expect(faults.counts().sqs).toEqual({ requests: 1, throttled: 0, failed: 0, cutBefore: 0, cutAfter: 0, slow: 0 });
  });

  it.each([
    { service: 'dynamodb', fault: 'throttled', name: 'ProvisionedThroughputExceededException', status: 400 },
    { service: 'dynamodb', fault: 'failed', name: 'InternalServerError', status: 500 },
    { service: 'sqs', fault: 'throttled', name: 'RequestThrottled', status: 400 },
    { service: 'sqs', fault: 'failed', name: 'ServiceUnavailable', status: 503 },
    { service: 'kms', fault: 'throttled', name: 'ThrottlingException', status: 400 },
    { service: 'kms', fault: 'failed', name: 'KMSInternalException', status: 500 },
    { service: 's3', fault: 'throttled', name: 'SlowDown', status: 503 },
    { service: 's3', fault: 'failed', name: 'InternalError', status: 500 },
  ] as const)(
    "a fault of $service ($fault) is parsed by AWS's client as $name",
    async ({ service, fault, name, status }) => {
      const faults = await startWithFaults();
      faults.set(service, { [fault]: 1 });
      const failure = createCalls(faults)[service]();
      await expect(failure).rejects.toMatchObject({ name, $metadata: { httpStatusCode: status } });
    },
  );

  it.each(SERVICES)('a cut connection to %s gives the client a connection error', async (service) => {
    const faults = await startWithFaults();
    const call = createCalls(faults)[service];
    for (const fault of ['cutBefore', 'cutAfter'] as const) {
      faults.set(service, { [fault]: 1 });
      await expect(call()).rejects.toMatchObject({ code: 'ECONNRESET' });
    }
  });

  it.each(['throttled', 'failed', 'cutBefore', 'cutAfter'] as const)(
    'AWS clients retry requests with the fault %s',
    async (fault) => {
      const faults = await startWithFaults();
      for (const service of SERVICES) faults.set(service, { [fault]: 0.4 });
      const calls = createCalls(faults, 10);
      for (const service of SERVICES) await calls[service]();
      for (const service of SERVICES) expect(faults.counts()[service].requests).toBeGreaterThanOrEqual(1);
    },
  );

  it.each([
    { fault: 'throttled', performed: false },
    { fault: 'failed', performed: false },
    { fault: 'cutBefore', performed: false },
    { fault: 'cutAfter', performed: true },
  ] as const)('a service performs a request despite the fault $fault: $performed', async ({ fault, performed }) => {
    const faults = await startWithFaults();
    const options = { region: REGION, credentials, maxAttempts: 1 };
    const sqs = new SQSClient({ ...options, endpoint: faults.urls.sqs });
    const kms = new KMSClient({ ...options, endpoint: faults.urls.kms });
    faults.set('sqs', { [fault]: 1 });
    faults.set('kms', { [fault]: 1 });
    await expect(sqs.send(new CreateQueueCommand({ QueueName: 'made' }))).rejects.toThrow();
    await expect(kms.send(new CreateKeyCommand({}))).rejects.toThrow();
    faults.set('sqs', {});
    const { QueueUrls = [] } = await sqs.send(new ListQueuesCommand({}));
    expect(QueueUrls).toHaveLength(performed ? 1 : 0);
    sqs.destroy();
    kms.destroy();
  });

  it('a slow service performs a request after the delay', async () => {
    const faults = await startWithFaults();
    const calls = createCalls(faults);
    faults.set('kms', { slow: 1 });
    const startedAt = performance.now();
    await calls.kms();
    // Timers may fire a moment early.
    expect(performance.now() - startedAt).toBeGreaterThan(990);
    await calls.sqs();
    expect(faults.counts()).toMatchObject({ kms: { requests: 1, slow: 1 }, sqs: { requests: 1, slow: 0 } });
  });

  it('faults are injected into the given share of requests, and into the same requests for the same seed', async () => {
    const recordOutcomes = async (seed: number) => {
      const faults = await startWithFaults(seed);
      faults.set('kms', { throttled: 0.2, cutBefore: 0.1 });
      const call = createCalls(faults).kms;
      const outcomes: string[] = [];
      for (let count = 0; count < 200; count += 1) {
        outcomes.push(
          await call().then(
            () => 'ok',
            (error: Error) => error.name,
          ),
        );
      }
      return { outcomes, counts: faults.counts().kms };
    };
    const [first, again, other] = [await recordOutcomes(7), await recordOutcomes(7), await recordOutcomes(8)];
    const share = (fault: Fault) => first.counts[fault] / first.counts.requests;
    expect(share('throttled')).toBeGreaterThan(0.1);
    expect(share('throttled')).toBeLessThan(0.3);
    expect(share('cutBefore')).toBeGreaterThan(0.03);
    expect(again.outcomes).toEqual(first.outcomes);
    expect(other.outcomes).not.toEqual(first.outcomes);
  });

  it('a fault proxy can rewrite requests, and can start before its stand-in', async () => {
    const seen: Exchange[] = [];
    let target = '';
    const proxy = closeAfterwards(
      await startFaultProxy({
        service: 'sqs',
        target: () => target,
        random: () => 0,
        rewrite: () => Buffer.from('{"QueueNamePrefix":"b"}'),
        onExchange: (exchange) => seen.push(exchange),
      }),
    );
    target = closeAfterwards(await startQueues()).url;
    const [direct, through] = [target, proxy.url].map(
      (endpoint) => new SQSClient({ endpoint, region: REGION, credentials }),
    );
    for (const QueueName of ['a', 'b']) await direct?.send(new CreateQueueCommand({ QueueName }));
    const { QueueUrls = [] } = (await through?.send(new ListQueuesCommand({}))) ?? {};
    expect(QueueUrls.map((url) => url.at(-1))).toEqual(['b']);
    expect(seen).toMatchObject([{ method: 'POST', target: 'AmazonSQS.ListQueues', status: 200 }]);
    direct?.destroy();
    through?.destroy();
  });
});
