import { createServer, type ServerResponse } from 'node:http';
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { afterEach, expect, it, vi } from 'vitest';
import { listen } from '../../../local/listen.ts';
import { createRequestHandler } from '../../../shared/aws/request-handler.ts';

afterEach(() => vi.unstubAllEnvs());

it('AWS_TIMEOUT_FACTOR multiplies the timeouts of AWS clients', async () => {
  let respond = (_response: ServerResponse): void => {};
  const server = createServer((_, response) => respond(response));
  const { port, close } = await listen(server, { port: 0 });
  const callWithTimeout = (ms: number) =>
    new DynamoDBClient({
      endpoint: `http://127.0.0.1:${port}`,
      region: 'eu-west-1',
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      requestHandler: createRequestHandler(ms),
      maxAttempts: 1,
    }).send(new ListTablesCommand({}));
  await expect(callWithTimeout(50)).rejects.toMatchObject({ name: 'TimeoutError' });
  vi.stubEnv('AWS_TIMEOUT_FACTOR', '10000');
  // Responds long after the timeout without the factor.
  respond = (response) => void setTimeout(() => response.end('{"TableNames":[]}'), 200);
  expect(await callWithTimeout(50)).toMatchObject({ TableNames: [] });
  await close();
});

it('an invalid AWS_TIMEOUT_FACTOR is an error that names it', () => {
  vi.stubEnv('AWS_TIMEOUT_FACTOR', 'long');
  expect(() => createRequestHandler(1_000)).toThrow('AWS_TIMEOUT_FACTOR');
});
