import { InvokeCommand, LambdaClient, type LambdaServiceException } from '@aws-sdk/client-lambda';
import { describe, expect, it } from 'vitest';
import { startInvokeApi } from '../../../local/lambda/invoke-api.ts';
import { closeAfterwards, functionOf, testRunner, until, useCleanup } from '../runners.ts';

useCleanup();

async function client(options: Parameters<typeof testRunner>[0] = {}) {
  const runner = await testRunner(options);
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

describe("the Invoke API, through AWS's own client", () => {
  it('invokes by name, by alias and by ARN', async () => {
    const { lambda } = await client();
    const arn = 'arn:aws:lambda:eu-west-1:000000000000:function:lambent-test-echo';
    const called = async (FunctionName: string, Qualifier?: string) => {
      const command = { FunctionName, Payload: payload({ context: true }), ...(Qualifier && { Qualifier }) };
      return parse(await lambda.send(new InvokeCommand(command))).invokedFunctionArn;
    };
    expect(await called('lambent-test-echo')).toBe(arn);
    expect(await called('lambent-test-echo', 'provisioned')).toBe(`${arn}:provisioned`);
    expect(await called('lambent-test-echo:provisioned')).toBe(`${arn}:provisioned`);
    expect(await called(arn)).toBe(arn);
    expect(await called(`${arn}:provisioned`)).toBe(`${arn}:provisioned`);
  });

  it('answers with the payload, the version and no error', async () => {
    const { lambda } = await client();
    const answer = await lambda.send(
      new InvokeCommand({ FunctionName: 'lambent-test-echo', Payload: payload({ a: 1 }) }),
    );
    expect(answer).toMatchObject({ StatusCode: 200, ExecutedVersion: '$LATEST' });
    expect(answer.FunctionError).toBeUndefined();
    expect(parse(answer)).toMatchObject({ event: { a: 1 } });
  });

  it("carries a function's failure in the payload", async () => {
    const { lambda } = await client();
    const fail = { FunctionName: 'lambent-test-echo', Payload: payload({ throw: 'no luck', name: 'LuckError' }) };
    const answer = await lambda.send(new InvokeCommand(fail));
    expect(answer).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled' });
    expect(parse(answer)).toMatchObject({ errorType: 'LuckError', errorMessage: 'no luck' });
  });

  it('returns at once from an event, which runs nevertheless', async () => {
    const { lambda, runner } = await client();
    const event = {
      FunctionName: 'lambent-test-echo',
      InvocationType: 'Event',
      Payload: payload({ log: 'ran' }),
    } as const;
    expect(await lambda.send(new InvokeCommand(event))).toMatchObject({ StatusCode: 202 });
    await until(() => runner.logs.some(({ text }) => text === 'ran'));
  });

  it('starts nothing for a dry run', async () => {
    const { lambda, runner } = await client();
    const command = new InvokeCommand({ FunctionName: 'lambent-test-echo', InvocationType: 'DryRun' });
    expect(await lambda.send(command)).toMatchObject({ StatusCode: 204 });
    expect(runner.processes()).toEqual([]);
  });

  it('hands the client context on', async () => {
    const { lambda } = await client();
    const ClientContext = Buffer.from('{"custom":{"warm":true}}').toString('base64');
    const command = { FunctionName: 'lambent-test-echo', ClientContext, Payload: payload({ context: true }) };
    expect(parse(await lambda.send(new InvokeCommand(command))).clientContext).toEqual({ custom: { warm: true } });
  });

  it.each([
    { what: 'an unknown function', name: 'nobody', text: '{}', error: 'ResourceNotFoundException', status: 404 },
    { what: 'no JSON', name: 'lambent-test-echo', text: '{', error: 'InvalidRequestContentException', status: 400 },
    {
      what: 'too much',
      name: 'lambent-test-echo',
      text: `"${'x'.repeat(6_300_000)}"`,
      error: 'RequestTooLargeException',
      status: 413,
    },
  ])("refuses $what with Lambda's own exception", async ({ name, text, error, status }) => {
    const { lambda } = await client();
    const refused: LambdaServiceException = await lambda
      .send(new InvokeCommand({ FunctionName: name, Payload: Buffer.from(text) }))
      .then(
        () => expect.unreachable(),
        (thrown) => thrown,
      );
    expect([refused.name, refused.$metadata.httpStatusCode]).toEqual([error, status]);
  });

  it('throttles with TooManyRequestsException and its reason', async () => {
    const { lambda } = await client({ functions: [functionOf('echo', { reservedConcurrency: 0 })] });
    const refused = lambda.send(new InvokeCommand({ FunctionName: 'lambent-test-echo', Payload: payload({}) }));
    await expect(refused).rejects.toMatchObject({
      name: 'TooManyRequestsException',
      Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
      $metadata: { httpStatusCode: 429 },
    });
  });
});
