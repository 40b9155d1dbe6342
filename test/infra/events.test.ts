import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { parseAuthorizerContext, parseBearerKey } from '../../shared/access/keys.ts';
import { deriveResponseId, parseMessage } from '../../shared/api/queue-message.ts';
import { parseProxyEvent } from '../../shared/lambda/proxy-event.ts';
import { parseQueueEvent } from '../../shared/lambda/queue-event.ts';
import { warmEventSchema } from '../../shared/lambda/warm-event.ts';

const sample = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../events', `${name}.json`), 'utf8'));

test('chat.json is a request that API Gateway hands to chat, with a principal and a body', () => {
  const event = parseProxyEvent(sample('chat'));
  expect(`${event.httpMethod} ${event.resource}`).toBe('POST /v1/chat/completions');
  expect(parseAuthorizerContext(event.requestContext.authorizer)).toEqual({
    tenant: 'local',
    keyId: 'local',
    scopes: ['inference', 'models'],
  });
  expect(JSON.parse(event.body ?? '')).toMatchObject({ model: 'default', stream: true });
});

test('authorize.json asks the authorizer about the same request', () => {
  const event = sample('authorize');
  expect(event).toMatchObject({ type: 'REQUEST', resource: sample('chat').resource });
  expect(parseBearerKey(event.headers.Authorization)).toBe('sk-local');
  expect(event.methodArn).toMatch(/^arn:aws:execute-api:[\w-]+:\d{12}:\w+\/dev\/POST\/v1\/chat\/completions$/);
});

test('warm.json is a warm event, and none of the others is taken for one', () => {
  expect(v.is(warmEventSchema, sample('warm'))).toBe(true);
  for (const other of ['chat', 'authorize', 'warmup', 'generate', 'sweep', 'message', 'fleet', 'fleet-drain'])
    expect(v.is(warmEventSchema, sample(other))).toBe(false);
});

test.each(['warmup', 'sweep', 'fleet'])('%s.json is what a schedule sends', (name) => {
  expect(sample(name)).toMatchObject({ source: 'aws.events', 'detail-type': 'Scheduled Event' });
});

test('message.json is a message that a program may send, and what becomes of it is known beforehand', () => {
  const message = parseMessage(JSON.stringify(sample('message')));
  expect(message).toMatchObject({ type: 'generate', tenant: 'local', endpoint: '/v1/responses' });
  expect(deriveResponseId('local', 'order-17')).toBe('resp_9be593a9c0c896ba5017ba8623059684042d90f4');
});

test("generate.json is what an event source mapping hands to generate: a program's message, and a pointer of our own", () => {
  const records = parseQueueEvent(sample('generate'));
  expect(records.map(({ body }) => parseMessage(body).type)).toEqual(['generate', 'job']);
  expect(JSON.parse(records[0]?.body ?? '')).toEqual(sample('message'));
});
