import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, it } from 'vitest';
import { parseAuthorizerContext } from '../../shared/access/authorizer-context.ts';
import { parseKey } from '../../shared/access/request-keys.ts';
import { deriveResponseId, parseMessage } from '../../shared/api/queue-message.ts';
import { readEntries } from '../../shared/audit/entry.ts';
import { ticketSchema } from '../../shared/jobs/ticket-message.ts';
import { parseLogEvent } from '../../shared/lambda/log-event.ts';
import { parseProxyEvent } from '../../shared/lambda/proxy-event.ts';
import { parseQueueEvent } from '../../shared/lambda/queue-event.ts';
import { warmEventSchema } from '../../shared/lambda/warm-event.ts';

const readSample = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../events', `${name}.json`), 'utf8'));

it('chat.json is an API Gateway request with a principal and a chat completion body', async () => {
  const event = parseProxyEvent(readSample('chat'));
  expect(`${event.httpMethod} ${event.resource}`).toBe('POST /v1/chat/completions');
  expect(await parseAuthorizerContext(event.requestContext.authorizer)).toEqual({
    tenant: 'local',
    keyId: 'local',
    scopes: ['generate', 'embeddings', 'models.read'],
    policy: {},
  });
  expect(JSON.parse(event.body ?? '')).toMatchObject({ model: 'default', stream: true });
});

it('embeddings.json is an API Gateway request with a body for embeddings', () => {
  const event = parseProxyEvent(readSample('embeddings'));
  expect(`${event.httpMethod} ${event.resource}`).toBe('POST /v1/embeddings');
  expect(JSON.parse(event.body ?? '')).toEqual({ model: 'embeddings', input: 'What is Lambent?' });
});

it("authorize.json is the authorizer's event for the request in chat.json", () => {
  const event = readSample('authorize');
  expect(event).toMatchObject({ type: 'REQUEST', resource: readSample('chat').resource });
  expect(parseKey(event.headers.Authorization)).toBe('sk-local');
  expect(event.methodArn).toMatch(/^arn:aws:execute-api:[\w-]+:\d{12}:\w+\/dev\/POST\/v1\/chat\/completions$/);
});

it('warm.json is a warm event, unlike the other samples', () => {
  expect(v.is(warmEventSchema, readSample('warm'))).toBe(true);
  for (const other of ['chat', 'authorize', 'warmup', 'intake', 'generate', 'sweep', 'message', 'fleet', 'fleet-drain'])
    expect(v.is(warmEventSchema, readSample(other))).toBe(false);
});

it.each(['warmup', 'sweep', 'fleet'])('%s.json is an event of a schedule', (name) => {
  expect(readSample(name)).toMatchObject({ source: 'aws.events', 'detail-type': 'Scheduled Event' });
});

it('message.json is a valid message, whose response id follows from tenant and idempotency key', () => {
  const message = parseMessage(JSON.stringify(readSample('message')));
  expect(message).toMatchObject({ type: 'generate', tenant: 'local', endpoint: '/v1/responses' });
  expect(deriveResponseId('local', 'order-17')).toBe('resp_9be593a9c0c896ba5017ba8623059684042d90f4');
});

it("intake.json is an event source mapping's batch of a program's message and an earlier version's pointer to a job", () => {
  const records = parseQueueEvent(readSample('intake'));
  expect(records.map(({ body }) => parseMessage(body).type)).toEqual(['generate', 'job']);
  expect(JSON.parse(records[0]?.body ?? '')).toEqual(readSample('message'));
});

it("generate.json is an event source mapping's batch of a ticket", () => {
  const [record] = parseQueueEvent(readSample('generate'));
  const ticket = v.parse(v.pipe(v.string(), v.parseJson(), ticketSchema), record?.body);
  expect(ticket).toMatchObject({ tenant: 'local', model: 'default', bytes: 64 });
});

it("record.json is a subscription filter's batch of a call and an administrative act", () => {
  const batch = parseLogEvent(readSample('record'));
  if (batch === undefined) throw new Error('The batch holds no lines');
  const { entries, unreadable } = readEntries(batch);
  expect(entries.map(({ record, tenant }) => `${record} of ${tenant}`)).toEqual([
    'call of local',
    'act of #organization',
  ]);
  expect(unreadable).toBe(0);
});
