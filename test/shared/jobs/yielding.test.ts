import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { listen } from '../../../local/listen.ts';
import { receive } from '../../../shared/api/receive.ts';
import { receiveOnLane } from '../../../shared/api/receive-pointer.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { pointerMessage } from '../../../shared/jobs/pointer-message.ts';
import type { Pointer } from '../../../shared/jobs/ports.ts';
import { createTicketQueue } from '../../../shared/jobs/ticket-queue.ts';
import { createYielding } from '../../../shared/jobs/yielding.ts';
import { answerWith } from '../api/answer-with.ts';
import { createReceiverPorts } from '../api/receiver-ports.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer } from '../inference/requests.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { aVault } from './services.ts';

const target = { provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1/v1' };
const registry = parseModelRegistry(JSON.stringify({ models: { default: { targets: [target] } } }), 'models.json');

async function* events() {
  yield* makeAnswer('Hello');
}

/** One function environment, and jobs by their ids, `flex…` in the flex tier. */
function anEnvironment() {
  const clock = { now: START };
  const blobs = createMemoryBlobs();
  const jobs = createMemoryStore(() => clock.now);
  const bodies = createBodies(aVault(), blobs);
  const sent: { pointer: Pointer; delaySeconds: number }[] = [];
  const ports = {
    ...createReceiverPorts(clock),
    jobs,
    bodies,
    events: createEventLog(aVault(), blobs),
    queue: {
      send: async (pointer: Pointer, delaySeconds: number) => void sent.push({ pointer, delaySeconds }),
    },
    answerJob: answerWith(
      async () => ({ events: events() }),
      () => clock.now,
    ),
    random: () => 1,
    yielding: createYielding(() => clock.now),
    onError: (_what: string, thrown: unknown) => expect.unreachable(String(thrown)),
    registry,
  };
  const tierOf = (id: string) => (id.startsWith('resp_flex') ? 'flex' : 'default');

  /** A message as SQS hands it over. */
  interface Received {
    readonly body: string;
    readonly waitedMs?: number;
    readonly received?: string;
  }
  const pointerTo = (id: string, delaySeconds?: number) =>
    pointerMessage({ tenant: 'acme', id, tier: tierOf(id), ...(delaySeconds === undefined ? {} : { delaySeconds }) });
  const recordOf = ({ body, waitedMs = 0, received = '1' }: Received) => ({
    messageId: 'm',
    receiptHandle: 'r',
    body,
    attributes: {
      SenderId: 'AROA',
      ApproximateReceiveCount: received,
      SentTimestamp: String(clock.now - waitedMs),
    },
  });
  const call = {
    signal: new AbortController().signal,
    deadlineAt: START + 24 * HOUR_MS,
    extendVisibility: async () => {},
    telemetry: recordTelemetry(),
  };
  return {
    clock,
    sent,
    pointerTo,
    job: (id: string) => jobs.read('acme', id),
    async put(id: string, changes: Partial<Job> = {}) {
      const { tenant, expiresAt } = aJob();
      const input = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, anInput());
      await jobs.create(aJob({ id, input, tier: tierOf(id), ...changes }));
    },
    /** A batch: its messages are served side by side. */
    batch: (...messages: Received[]) => Promise.all(messages.map((each) => receive(recordOf(each), ports, call))),
    onLane: (...messages: Received[]) =>
      Promise.all(messages.map((each) => receiveOnLane('gpu', recordOf(each), ports, call))),
  };
}

const WAITED = 5_001;

describe('flex work', () => {
  it.each(['batch', 'onLane'] as const)(
    'stands back for work of its batch that has waited, at no attempt: %s',
    async (serve) => {
      const environment = anEnvironment();
      await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
      const [flex, other] = await environment[serve](
        { body: environment.pointerTo('resp_flex'), waitedMs: WAITED },
        { body: environment.pointerTo('resp_other'), waitedMs: WAITED },
      );
      expect(other).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
      expect(flex).toMatchObject({ kind: 'paused', job: { status: 'queued', attempts: 0, releases: 1 } });
      expect(environment.sent).toMatchObject([{ pointer: { id: 'resp_flex', tier: 'flex' }, delaySeconds: 8 }]);
    },
  );

  it('stands back for half a minute more, and then runs', async () => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    await environment.batch({ body: environment.pointerTo('resp_other'), waitedMs: WAITED });
    const flex = { body: environment.pointerTo('resp_flex'), waitedMs: 60_000 };
    environment.clock.now += 29_999;
    expect(await environment.batch(flex)).toMatchObject([{ kind: 'paused' }]);
    environment.clock.now += 8_000;
    expect(await environment.batch(flex)).toMatchObject([{ kind: 'ended', job: { attempts: 1, status: 'completed' } }]);
  });

  it('is not put off for ever: in the second half of its time it runs', async () => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    environment.clock.now += HOUR_MS / 2 - 1;
    const other = { body: environment.pointerTo('resp_other'), waitedMs: WAITED };
    const flex = { body: environment.pointerTo('resp_flex') };
    expect(await environment.batch(flex, other)).toMatchObject([{ kind: 'paused' }, { kind: 'ended' }]);
    environment.clock.now += 8_000;
    expect(await environment.batch(flex, other)).toMatchObject([{ kind: 'ended' }, { kind: 'refused' }]);
  });

  it("stands back for a program's message, and not for another's flex work", async () => {
    const environment = anEnvironment();
    const message = (idempotencyKey: string, more: object = {}) => ({
      body: JSON.stringify({
        version: 1,
        type: 'generate',
        tenant: 'acme',
        idempotencyKey,
        endpoint: '/v1/responses',
        body: { model: 'default', input: 'Hello', ...more },
      }),
      waitedMs: WAITED,
    });
    const flex = { service_tier: 'flex' };
    const all = await environment.batch(message('a', flex), message('b', flex), message('c', flex));
    expect(all.map(({ kind }) => kind)).toEqual(['ended', 'ended', 'ended']);
    const mixed = await environment.batch(message('d', flex), message('e'), message('f', flex));
    expect(mixed.map(({ kind }) => kind)).toEqual(['paused', 'ended', 'paused']);
  });

  it.each([
    ['is received at once', { waitedMs: 5_000 }, undefined],
    ['comes again after its function died', { waitedMs: 61_000, received: '2' }, undefined],
    ['was held back when it was sent', { waitedMs: 64_000 }, 60],
  ])('runs beside work that %s', async (_name, how, delaySeconds) => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    const outcomes = await environment.batch(
      { body: environment.pointerTo('resp_flex'), waitedMs: 60_000 },
      { body: environment.pointerTo('resp_other', delaySeconds), ...how },
    );
    expect(outcomes.map(({ kind }) => kind)).toEqual(['ended', 'ended']);
  });
});

it('its messages are a group of their own, and every message says for how long it was held back', async () => {
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    bodies.push(await text(request));
    const { MessageBody } = JSON.parse(bodies.at(-1) ?? '');
    const MD5OfMessageBody = createHash('md5').update(MessageBody).digest('hex');
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' });
    response.end(JSON.stringify({ MessageId: 'm', MD5OfMessageBody }));
  });
  const { port, close } = await listen(server, { port: 0 });
  const endpoint = `http://127.0.0.1:${port}`;
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new SQSClient({ region: 'eu-west-1', endpoint, credentials });
  const queue = createTicketQueue(client, {
    GENERATION_QUEUE_URL: `${endpoint}/1/generation`,
    GPU_QUEUE_URL: `${endpoint}/1/gpu`,
  });
  await queue.send({ tenant: 'acme', id: 'resp_1', tier: 'flex' }, 0);
  await queue.send({ tenant: 'acme', id: 'resp_2', tier: 'default', lane: 'gpu' }, 1_000);
  client.destroy();
  await close();
  expect(bodies.map((body) => JSON.parse(body))).toEqual([
    {
      QueueUrl: `${endpoint}/1/generation`,
      MessageBody: '{"version":1,"type":"job","tenant":"acme","id":"resp_1","tier":"flex"}',
      MessageGroupId: 'acme:flex',
    },
    {
      QueueUrl: `${endpoint}/1/gpu`,
      MessageBody: '{"version":1,"type":"job","tenant":"acme","id":"resp_2","tier":"default","delaySeconds":900}',
      MessageGroupId: 'acme',
      DelaySeconds: 900,
    },
  ]);
});
