import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { bearerKey, fromAuthorizerContext } from '../../shared/access/keys.ts';
import { parseProxyEvent } from '../../shared/runtime/proxy-event.ts';
import { warmEventSchema } from '../../shared/runtime/warm.ts';

const sample = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../events', `${name}.json`), 'utf8'));

test('chat.json is a request that API Gateway hands to chat, with a principal and a body', () => {
  const event = parseProxyEvent(sample('chat'));
  expect(`${event.httpMethod} ${event.resource}`).toBe('POST /v1/chat/completions');
  expect(fromAuthorizerContext(event.requestContext.authorizer)).toEqual({
    tenant: 'local',
    keyId: 'local',
    scopes: ['inference', 'models'],
  });
  expect(JSON.parse(event.body ?? '')).toMatchObject({ model: 'default', stream: true });
});

test('authorize.json asks the authorizer about the same request', () => {
  const event = sample('authorize');
  expect(event).toMatchObject({ type: 'REQUEST', resource: sample('chat').resource });
  expect(bearerKey(event.headers.Authorization)).toBe('sk-local');
  expect(event.methodArn).toMatch(/^arn:aws:execute-api:[\w-]+:\d{12}:\w+\/dev\/POST\/v1\/chat\/completions$/);
});

test('warm.json is a warm event, and none of the others is taken for one', () => {
  expect(v.is(warmEventSchema, sample('warm'))).toBe(true);
  for (const other of ['chat', 'authorize', 'warmup']) expect(v.is(warmEventSchema, sample(other))).toBe(false);
});

test('warmup.json is what a schedule sends', () => {
  expect(sample('warmup')).toMatchObject({ source: 'aws.events', 'detail-type': 'Scheduled Event' });
});
