import { InvokeCommand, LambdaClient, type LambdaServiceException } from '@aws-sdk/client-lambda';
import { describe, expect, it } from 'vitest';
import { startInvokeApi } from '../../../local/lambda/invoke-api.ts';
import { closeAfterwards, defineFunction, MODES, startTestRunner, until, useCleanup } from '../runners.ts';

useCleanup();

async function startClient(options: Parameters<typeof startTestRunner>[0] = {}) {
  const runner = await startTestRunner(options);
  const { url } = closeAfterwards(await startInvokeApi(runner));
  const lambda = new LambdaClient({
    endpoint: url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  });
  closeAfterwards({ close: () => lambda.destroy() });
  return { lambda, runner };
}

const payload = (event: unknown) => Buffer.from(JSON.stringify(event));
const parse = (answer: { Payload?: Uint8Array }) => JSON.parse(Buffer.from(answer.Payload ?? []).toString());

describe.each(MODES)("Lambda's Invoke API, called by AWS's own client, in %s mode", (mode) => {
  it('Invoke accepts the name, the alias and the ARN of a function', async () => {
    const { lambda } = await startClient({ mode });
    const arn = 'arn:aws:lambda:eu-west-1:000000000000:function:lambent-test-echo';
    const invokedArn = async (FunctionName: string, Qualifier?: string) => {
      const command = { FunctionName, Payload: payload({ context: true }), ...(Qualifier && { Qualifier }) };
      return parse(await lambda.send(new InvokeCommand(command))).invokedFunctionArn;
    };
    expect(await invokedArn('lambent-test-echo')).toBe(arn);
    expect(await invokedArn('lambent-test-echo', 'provisioned')).toBe(`${arn}:provisioned`);
    expect(await invokedArn('lambent-test-echo:provisioned')).toBe(`${arn}:provisioned`);
    expect(await invokedArn(arn)).toBe(arn);
    expect(await invokedArn(`${arn}:provisioned`)).toBe(`${arn}:provisioned`);
  });

  it('Invoke returns the payload and the version, and no error', async () => {
    const { lambda } = await startClient({ mode });
    const answer = await lambda.send(
      new InvokeCommand({ FunctionName: 'lambent-test-echo', Payload: payload({ a: 1 }) }),
    );
    expect(answer).toMatchObject({ StatusCode: 200, ExecutedVersion: '$LATEST' });
    expect(answer.FunctionError).toBeUndefined();
    expect(parse(answer)).toMatchObject({ event: { a: 1 } });
  });

  it('Invoke returns the error of a function as the payload', async () => {
    const { lambda } = await startClient({ mode });
    const fail = { FunctionName: 'lambent-test-echo', Payload: payload({ throw: 'no luck', name: 'LuckError' }) };
    const answer = await lambda.send(new InvokeCommand(fail));
    expect(answer).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled' });
    expect(parse(answer)).toMatchObject({ errorType: 'LuckError', errorMessage: 'no luck' });
  });

  it('Invoke returns the error of a function that failed after it had begun to stream', async () => {
    const { lambda } = await startClient({ mode });
    const fail = { FunctionName: 'lambent-test-stream', Payload: payload({ throwAfter: 'too late' }) };
    const answer = await lambda.send(new InvokeCommand(fail));
    expect(answer).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled' });
    expect(parse(answer)).toMatchObject({ errorMessage: 'too late' });
  });

  it('Invoke returns at once from an asynchronous invocation, which runs afterwards', async () => {
    const { lambda, runner } = await startClient({ mode });
    const event = {
      FunctionName: 'lambent-test-echo',
      InvocationType: 'Event',
      Payload: payload({ log: 'ran' }),
    } as const;
    expect(await lambda.send(new InvokeCommand(event))).toMatchObject({ StatusCode: 202 });
    await until(() => runner.logs.some(({ text }) => text.includes('ran')));
  });

  it('Invoke starts no process for a dry run', async () => {
    const { lambda, runner } = await startClient({ mode });
    const command = new InvokeCommand({ FunctionName: 'lambent-test-echo', InvocationType: 'DryRun' });
    expect(await lambda.send(command)).toMatchObject({ StatusCode: 204 });
    expect(runner.processes()).toEqual([]);
  });

  it('Invoke passes the client context to the function', async () => {
    const { lambda } = await startClient({ mode });
    const ClientContext = Buffer.from('{"custom":{"warm":true}}').toString('base64');
    const command = { FunctionName: 'lambent-test-echo', ClientContext, Payload: payload({ context: true }) };
    expect(parse(await lambda.send(new InvokeCommand(command))).clientContext).toEqual({ custom: { warm: true } });
  });

  it.each([
    { input: 'an unknown function', name: 'unknown', text: '{}', error: 'ResourceNotFoundException', status: 404 },
    {
      input: 'a payload that is not JSON',
      name: 'lambent-test-echo',
      text: '{',
      error: 'InvalidRequestContentException',
      status: 400,
    },
    {
      input: 'a payload of more than 6 MB',
      name: 'lambent-test-echo',
      text: `"${'x'.repeat(6_300_000)}"`,
      error: 'RequestTooLargeException',
      status: 413,
    },
  ])("Invoke rejects $input with Lambda's exception $error", async ({ name, text, error, status }) => {
    const { lambda } = await startClient({ mode });
    const refused: LambdaServiceException = await lambda
      .send(new InvokeCommand({ FunctionName: name, Payload: Buffer.from(text) }))
      .then(
        () => expect.unreachable(),
        (thrown) => thrown,
      );
    expect([refused.name, refused.$metadata.httpStatusCode]).toEqual([error, status]);
  });

  it('Invoke throttles with a TooManyRequestsException that has the reason', async () => {
    const { lambda } = await startClient({ mode, functions: [defineFunction('echo', { reservedConcurrency: 0 })] });
    const refused = lambda.send(new InvokeCommand({ FunctionName: 'lambent-test-echo', Payload: payload({}) }));
    await expect(refused).rejects.toMatchObject({
      name: 'TooManyRequestsException',
      Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
      $metadata: { httpStatusCode: 429 },
    });
  });
});
