import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import * as v from 'valibot';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listen } from '../../../local/listen.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { Ticket } from '../../../shared/jobs/ports.ts';
import { sendTickets } from '../../../shared/jobs/submit.ts';
import { ticketSchema } from '../../../shared/jobs/ticket-message.ts';
import { createTicketCount, createTicketQueue } from '../../../shared/jobs/ticket-queue.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { aJob, START } from './jobs.ts';
import { type Services, startServices } from './services.ts';

interface Entry {
  readonly Id: string;
  readonly MessageBody: string;
  readonly MessageGroupId: string;
}
interface Batch {
  readonly QueueUrl: string;
  readonly Entries: readonly Entry[];
}

/** Requests that the server got, and what it does: entries whose body contains `refused` fail, and so do requests with `broken`. */
const wire = { batches: [] as Batch[], refused: '\n', broken: '\n' };
let services: Services;
let client: SQSClient;
let endpoint: string;
let close: () => Promise<void>;
beforeAll(async () => {
  services = await startServices();
  const server = createServer(async (request, response) => {
    const batch: Batch = JSON.parse(await text(request));
    wire.batches.push(batch);
    const isBroken = batch.Entries.some(({ MessageBody }) => MessageBody.includes(wire.broken));
    const isRefused = ({ MessageBody }: Entry) => MessageBody.includes(wire.refused);
    const answer = {
      Successful: batch.Entries.filter((entry) => !isRefused(entry)).map(({ Id, MessageBody }) => ({
        Id,
        MessageId: Id,
        MD5OfMessageBody: createHash('md5').update(MessageBody).digest('hex'),
      })),
      Failed: batch.Entries.filter(isRefused).map(({ Id }) => ({ Id, Code: 'InternalError', SenderFault: false })),
    };
    response.writeHead(isBroken ? 500 : 200, { 'content-type': 'application/x-amz-json-1.0' });
    response.end(JSON.stringify(isBroken ? { __type: 'InternalError' } : answer));
  });
  const listening = await listen(server, { port: 0 });
  close = listening.close;
  endpoint = `http://127.0.0.1:${listening.port}`;
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  client = new SQSClient({ region: 'eu-west-1', endpoint, credentials, maxAttempts: 1 });
});
afterAll(async () => {
  client.destroy();
  await close();
  await services[Symbol.asyncDispose]();
});
beforeEach(() => {
  Object.assign(wire, { batches: [], refused: '\n', broken: '\n' });
});

const createQueue = () =>
  createTicketQueue(client, { JOBS_QUEUE_URL: `${endpoint}/1/jobs`, GPU_QUEUE_URL: `${endpoint}/1/gpu` });
const ticket = (id: string, rest: Partial<Ticket> = {}): Ticket => ({
  ...{ tenant: 'acme', id, tier: 'default', model: 'm', bytes: 7 },
  ...rest,
});
const numbered = (count: number) => Array.from({ length: count }, (_, index) => ticket(`resp_${index}x`));

describe('the ticket queue', () => {
  it('sends 25 tickets in three requests', async () => {
    expect(await createQueue().send(numbered(25))).toEqual(Array.from({ length: 25 }, () => true));
    expect(wire.batches.map(({ Entries }) => Entries.length).sort()).toEqual([10, 10, 5]);
    const ids = wire.batches.flatMap(({ Entries }) => Entries.map(({ MessageBody }) => JSON.parse(MessageBody).id));
    expect(ids.sort()).toEqual(
      numbered(25)
        .map(({ id }) => id)
        .sort(),
    );
  });

  it('sends a ticket to the queue of its lane, in the group of its tenant or of its flex work', async () => {
    const tickets = [
      ticket('resp_1', { lane: 'gpu' }),
      ticket('resp_2', { tier: 'flex' }),
      ticket('resp_3', { tenant: 'other', lane: 'newer' }),
    ];
    expect(await createQueue().send(tickets)).toEqual([true, true, true]);
    const sent = wire.batches.flatMap(({ QueueUrl, Entries }) =>
      Entries.map(({ MessageBody, MessageGroupId }) => [
        new URL(QueueUrl).pathname,
        JSON.parse(MessageBody).id,
        MessageGroupId,
      ]),
    );
    expect(sent.sort()).toEqual([
      ['/1/gpu', 'resp_1', 'acme'],
      ['/1/jobs', 'resp_2', 'acme:flex'],
      ['/1/jobs', 'resp_3', 'other'],
    ]);
  });

  it('encodes a ticket as documented', async () => {
    await createQueue().send([ticket('resp_1')]);
    const body = wire.batches[0]?.Entries[0]?.MessageBody ?? '';
    expect(body).toBe(
      '{"version":1,"type":"job","tenant":"acme","id":"resp_1","tier":"default","model":"m","bytes":7}',
    );
    expect(v.parse(ticketSchema, JSON.parse(body))).toMatchObject({ id: 'resp_1', model: 'm', bytes: 7 });
  });

  it('reports which tickets of a request were not accepted', async () => {
    wire.refused = 'resp_1x';
    const failures: unknown[] = [];
    expect(await createQueue().send(numbered(3), (thrown) => failures.push(thrown))).toEqual([true, false, true]);
    expect(failures).toMatchObject([{ name: 'MessageRefusedError', code: 'InternalError' }]);
  });

  it('sends the other requests if one fails, and reports the failure', async () => {
    wire.broken = 'resp_12x';
    const failures: unknown[] = [];
    const accepted = await createQueue().send(numbered(25), (thrown) => failures.push(thrown));
    expect(accepted).toEqual(Array.from({ length: 25 }, (_, index) => index < 10 || index >= 20));
    expect(failures).toMatchObject([{ name: 'InternalError' }]);
  });

  it('accepts no ticket whose size is not a finite whole number', () => {
    const sized = (bytes: string) =>
      JSON.parse(`{"version":1,"type":"job","tenant":"acme","id":"resp_1","bytes":${bytes}}`);
    expect(v.is(ticketSchema, sized('0'))).toBe(true);
    for (const bytes of ['1e999', '-1', '0.5', '"7"']) expect(v.is(ticketSchema, sized(bytes))).toBe(false);
  });

  it('throws if no ticket was sent because of an error', async () => {
    wire.broken = 'resp_';
    await expect(createQueue().send(numbered(12))).rejects.toMatchObject({ name: 'InternalError' });
  });

  it('sends nothing for no tickets', async () => {
    expect(await createQueue().send([])).toEqual([]);
    expect(wire.batches).toEqual([]);
  });
});

it('jobs whose tickets were accepted are recorded, and the others wait for the sweep', async () => {
  const jobs = createMemoryStore(() => START);
  const waiting = await Promise.all(
    numbered(12).map(async ({ id }) => {
      const { job } = await jobs.create(aJob({ id }), { purpose: 'wake', queue: 'jobs', dueAt: START });
      return job ?? aJob();
    }),
  );
  wire.refused = 'resp_3x';
  const errors: string[] = [];
  const onError = (what: string) => void errors.push(what);
  const ports = { jobs, queue: createQueue(), timings: JOB_TIMINGS, now: () => START, onError };
  expect(await sendTickets(waiting, ports)).toBe(11);
  expect(errors).toEqual(['tickets not accepted']);
  expect(await jobs.count('wait#jobs#0')).toBe(11);
  expect((await jobs.list('wake#jobs#0', START, { limit: 10 })).entries).toMatchObject([{ id: 'resp_3x' }]);
});

it('the count of tickets includes those that are hidden', async () => {
  const settings = { JOBS_QUEUE_URL: await services.newQueue(), GPU_QUEUE_URL: await services.newQueue() };
  await createTicketQueue(services.sqs, settings).send([...numbered(3), ticket('resp_g', { lane: 'gpu' })]);
  const command = new ReceiveMessageCommand({ QueueUrl: settings.GPU_QUEUE_URL, VisibilityTimeout: 60 });
  expect((await services.sqs.send(command)).Messages).toHaveLength(1);
  const count = createTicketCount(services.sqs, settings);
  expect([await count('jobs'), await count('gpu')]).toEqual([3, 1]);
});
