import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { FunctionError } from '../../local/lambda/errors.ts';
import type { Runner } from '../../local/lambda/runner.ts';
import { startLogSubscriptions } from '../../local/log-subscriptions.ts';
import { type LogBatch, parseLogEvent } from '../../shared/lambda/log-event.ts';
import { waitUntil } from '../wait.ts';

const SUBSCRIPTION = {
  ...{ source: 'chat', logGroup: '/aws/lambda/lambent-local-chat', filterName: 'ChatFilter', destination: 'record' },
  pattern: '{ $.record = "*" }',
};

/** Starts the subscription, to a function that fails at first if there are `failures`. Returns what it gets. */
function start({ failures = 0, pattern = SUBSCRIPTION.pattern } = {}) {
  const batches: LogBatch[] = [];
  const invoke: Runner['invoke'] = async (name, payload) => {
    expect(name).toBe('record');
    const batch = parseLogEvent(JSON.parse(String(payload)));
    if (batch !== undefined) batches.push(batch);
    const failure = batches.length <= failures ? new FunctionError('Error', 'no table') : undefined;
    return { contentType: 'application/json', body: Readable.from(['null']), failure: () => failure } as never;
  };
  const subscriptions = startLogSubscriptions([{ ...SUBSCRIPTION, pattern }], { invoke }, 20);
  const write = (text: string, source = 'chat') =>
    subscriptions.write({ function: source, pid: 1, stream: 'stdout', text });
  return { batches, subscriptions, write };
}

it('lines that match the pattern are delivered in one batch, and others are not', async () => {
  const { batches, subscriptions, write } = start();
  write('{"record":"call","n":1}');
  write('{"message":"no record"}');
  write('"record" in a text');
  write('{"record":"call","n":2}', 'intake');
  write('{"record":"act","n":3}');
  await waitUntil('the batch is delivered', () => batches.length > 0);
  expect(batches).toMatchObject([
    { logGroup: SUBSCRIPTION.logGroup, lines: ['{"record":"call","n":1}', '{"record":"act","n":3}'] },
  ]);
  await subscriptions.close();
});

it('a batch that fails is delivered again, under the same id', async () => {
  const { batches, subscriptions, write } = start({ failures: 1 });
  write('{"record":"call"}');
  await waitUntil('the batch is delivered twice', () => batches.length === 2);
  expect(batches[0]).toEqual(batches[1]);
  await subscriptions.close();
});

it('lines that were written before the end are delivered', async () => {
  const { batches, subscriptions, write } = start();
  write('{"record":"call"}');
  await subscriptions.close();
  expect(batches).toHaveLength(1);
});

it('a pattern that the local cloud does not support is refused', () => {
  expect(() => start({ pattern: '[ip, user, ...]' })).toThrow("doesn't support the filter pattern");
});
