import { execFileSync, spawn } from 'node:child_process';
import { availableParallelism, getPriority } from 'node:os';
import { resolve } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { closeAfterwards, functionOf, lives, testRunner, until, useCleanup } from '../runners.ts';

useCleanup();

const json = JSON.stringify;

describe('a function', () => {
  it('answers from a process of its own that bears its name', async () => {
    const runner = await testRunner();
    const { pid } = Object(await runner.call('echo', { a: 1 }));
    expect(pid).not.toBe(process.pid);
    expect(execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' })).toContain('lambda:echo');
    await until(() => runner.processes().every(({ busy }) => !busy));
    expect(runner.processes()).toEqual([{ pid, function: 'echo', busy: false, requestIds: [] }]);
  });

  it('may be an ES module', async () => {
    const runner = await testRunner({ functions: [functionOf('esm')] });
    expect(await runner.call('esm', { a: 1 })).toEqual({ esm: true, event: { a: 1 } });
  });

  it('gets the context that Lambda gives', async () => {
    const runner = await testRunner();
    const { body } = await runner.invoke('echo', json({ context: true }), {
      qualifier: 'provisioned',
      clientContext: '{"custom":1}',
    });
    expect(JSON.parse(await text(body))).toEqual({
      awsRequestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      invokedFunctionArn: 'arn:aws:lambda:eu-west-1:000000000000:function:lambent-test-echo:provisioned',
      functionName: 'lambent-test-echo',
      functionVersion: '$LATEST',
      memoryLimitInMB: '128',
      logGroupName: '/aws/lambda/lambent-test-echo',
      logStreamName: expect.stringContaining('[$LATEST]'),
      clientContext: { custom: 1 },
      callbackWaitsForEmptyEventLoop: true,
      remainingMs: expect.toSatisfy((ms: number) => ms > 10_000 && ms <= 20_000),
      title: 'lambda:echo',
    });
  });

  it('gets its own variables and those that Lambda sets, and none of ours', async () => {
    process.env['SECRET_OF_THE_RUNNER'] = 'leaked';
    const runner = await testRunner({ functions: [functionOf('echo', { environment: { TABLE: 'access' } })] });
    const env = Object(await runner.call('echo', { env: true }));
    delete process.env['SECRET_OF_THE_RUNNER'];
    expect(env).toMatchObject({
      TABLE: 'access',
      AWS_REGION: 'eu-west-1',
      AWS_LAMBDA_FUNCTION_NAME: 'lambent-test-echo',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      AWS_ACCESS_KEY_ID: 'local',
      _HANDLER: 'index.handler',
    });
    expect(env).not.toHaveProperty('SECRET_OF_THE_RUNNER');
    expect(env).not.toHaveProperty('HOME');
  });

  it('logs lines to whoever listens', async () => {
    const runner = await testRunner();
    await runner.call('echo', { log: 'hello\nworld' });
    await until(() => runner.logs.length === 2);
    expect(runner.logs.map(({ function: name, stream, text }) => [name, stream, text])).toEqual([
      ['echo', 'stdout', 'hello'],
      ['echo', 'stdout', 'world'],
    ]);
  });

  it('answers several megabytes unharmed', async () => {
    const runner = await testRunner();
    const answer = Object(await runner.call('echo', { bytes: 5_000_000 }));
    expect(answer).toHaveLength(5_000_000);
  });

  it('may not answer more than 6 MB in one piece', async () => {
    const runner = await testRunner();
    await expect(runner.call('echo', { bytes: 6_300_000 })).rejects.toMatchObject({
      errorType: 'Function.ResponseSizeTooLarge',
    });
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('may not be asked with more than 6 MB', async () => {
    const runner = await testRunner();
    await expect(runner.call('echo', { text: 'x'.repeat(6_300_000) })).rejects.toMatchObject({
      type: 'RequestTooLargeException',
      status: 413,
    });
  });

  it('is found by its AWS name and its ARN, and by no other', async () => {
    const runner = await testRunner();
    await runner.call('lambent-test-echo', {});
    await runner.call('arn:aws:lambda:eu-west-1:000000000000:function:lambent-test-echo', {});
    await expect(runner.call('nobody', {})).rejects.toMatchObject({ type: 'ResourceNotFoundException' });
  });
});

describe('concurrency', () => {
  it('adds a process for each call at once, and none for calls in turn', async () => {
    const runner = await testRunner();
    for (let call = 0; call < 50; call += 1) await runner.call('echo', {});
    expect(runner.processes()).toHaveLength(1);
    const answers = await Promise.all([1, 2, 3].map(() => runner.call('echo', { sleepMs: 2_000 })));
    expect(new Set(answers.map((answer) => Object(answer).pid)).size).toBe(3);
    expect(runner.processes()).toHaveLength(3);
  });

  it('starts few processes at once, however many calls wait', async () => {
    const runner = await testRunner();
    const answers = Promise.all(Array.from({ length: 8 }, () => runner.call('echo', { sleepMs: 500 })));
    let most = 0;
    await until(() => {
      // One that is busy with no call starts.
      const starting = runner.processes().filter(({ busy, requestIds }) => busy && requestIds.length === 0);
      most = Math.max(most, starting.length);
      return runner.processes().some(({ requestIds }) => requestIds.length > 0);
    });
    expect(most).toBe(Math.max(1, Math.floor(availableParallelism() / 2)));
    await answers;
  });

  it('leaves the processors to the cloud itself, and then to functions that a caller waits for', async () => {
    const runner = await testRunner({
      functions: [functionOf('echo'), functionOf('echo', { name: 'queued', background: true })],
    });
    const niceness = async (name: string) => getPriority(Object(await runner.call(name, {})).pid) - getPriority();
    expect([await niceness('echo'), await niceness('queued')]).toEqual([5, 12]);
  });

  it('throttles beyond a reservation, as Lambda does', async () => {
    const runner = await testRunner({ functions: [functionOf('echo', { reservedConcurrency: 2 })] });
    const two = [runner.call('echo', { sleepMs: 300 }), runner.call('echo', { sleepMs: 300 })];
    await expect(runner.call('echo', {})).rejects.toMatchObject({
      type: 'TooManyRequestsException',
      status: 429,
      reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
    });
    await Promise.all(two);
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('throttles what shares the account, and leaves reservations alone', async () => {
    const runner = await testRunner({
      functions: [functionOf('echo'), functionOf('stream'), functionOf('esm', { reservedConcurrency: 1 })],
      concurrency: 1,
    });
    const one = runner.call('echo', { sleepMs: 300 });
    await expect(runner.invoke('stream', '{}')).rejects.toMatchObject({ reason: 'ConcurrentInvocationLimitExceeded' });
    expect(await runner.call('esm', {})).toMatchObject({ esm: true });
    await one;
  });

  it('ends processes that nobody has needed for a while', async () => {
    const runner = await testRunner({ idleMs: 200 });
    const { pid } = Object(await runner.call('echo', {}));
    await until(() => runner.processes().length === 0);
    expect(lives(pid)).toBe(false);
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('replaces a process whose credentials have expired', async () => {
    let expiresAt = 0;
    const runner = await testRunner({
      credentials: async () => ({ variables: { AWS_ACCESS_KEY_ID: `key-${expiresAt}` }, expiresAt }),
    });
    const first = Object(await runner.call('echo', { env: true }));
    expiresAt = Date.now() + 60_000;
    const second = Object(await runner.call('echo', { env: true }));
    const third = Object(await runner.call('echo', { env: true }));
    expect([first, second, third].map((env) => env['AWS_ACCESS_KEY_ID'])).toEqual([
      'key-0',
      `key-${expiresAt}`,
      `key-${expiresAt}`,
    ]);
    await until(() => runner.processes().length === 1);
  });
});

describe('a failure', () => {
  it('is reported as Lambda reports it, and the process serves on', async () => {
    const runner = await testRunner();
    await expect(runner.call('echo', { throw: 'no luck', name: 'LuckError' })).rejects.toMatchObject({
      errorType: 'LuckError',
      message: 'no luck',
    });
    expect(await runner.call('echo', {})).toMatchObject({ pid: runner.processes()[0]?.pid });
  });

  it('at the start fails each call with the cause', async () => {
    const runner = await testRunner({ functions: [functionOf('broken')] });
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(runner.call('broken', {})).rejects.toMatchObject({
        errorType: 'ConfigurationError',
        message: 'no table',
      });
    }
    expect(runner.logs.some(({ text }) => text.includes('Init Error'))).toBe(true);
  });

  it('to start within its time fails the call', async () => {
    const runner = await testRunner({ initTimeoutMs: 1 });
    await expect(runner.call('echo', {})).rejects.toMatchObject({ errorType: 'Sandbox.Timedout' });
  });

  it('to find the bundle names the folder', async () => {
    const runner = await testRunner({ functions: [functionOf('nowhere')] });
    await expect(runner.call('nowhere', {})).rejects.toThrow('bundles/nowhere');
  });

  it('to find the handler is named', async () => {
    const runner = await testRunner({ functions: [functionOf('echo', { handler: 'index.nothing' })] });
    await expect(runner.call('echo', {})).rejects.toMatchObject({ errorType: 'Runtime.HandlerNotFound' });
  });

  it('that nobody catches ends the process, and is the answer', async () => {
    const runner = await testRunner();
    await expect(runner.call('echo', { reject: 'forgotten' })).rejects.toMatchObject({
      errorType: 'Runtime.UnhandledPromiseRejection',
      message: 'forgotten',
    });
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it.each([
    { how: 'an exit', event: { exit: 3 }, message: 'exit status 3' },
    { how: 'a kill', event: { kill: true }, message: 'signal: SIGKILL' },
  ])('by $how fails the call that was served, and the next one works', async ({ event, message }) => {
    const runner = await testRunner();
    await expect(runner.call('echo', event)).rejects.toMatchObject({
      errorType: 'Runtime.ExitError',
      message: expect.stringContaining(message),
    });
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('to be idle in peace is survived: a process killed while idle is replaced', async () => {
    const runner = await testRunner();
    const { pid } = Object(await runner.call('echo', {}));
    process.kill(pid, 'SIGKILL');
    await until(() => runner.processes().length === 0);
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it.each([{ sleepMs: 60_000 }, { spin: true }])('to end in time is killed: %j', async (event) => {
    const runner = await testRunner({ functions: [functionOf('echo', { timeoutMs: 600 })] });
    await expect(runner.call('echo', event)).rejects.toMatchObject({
      errorType: 'Sandbox.Timedout',
      message: expect.stringMatching(/^RequestId: [0-9a-f-]{36} Error: Task timed out after 0\.60 seconds$/),
    });
    await until(() => runner.processes().length === 0);
  });
});

describe('a streamed answer', () => {
  it('begins with the prelude, is flushed by an empty write, and arrives before the handler ends', async () => {
    const runner = await testRunner();
    const response = await runner.invoke('stream', json({ chunks: ['one', 'two'], pauseMs: 400, status: 201 }));
    expect(response.streamed).toBe(true);
    expect(response.contentType).toBe('application/vnd.awslambda.http-integration-response');
    const arrivals: { text: string; at: number }[] = [];
    for await (const chunk of response.body) arrivals.push({ text: String(chunk), at: performance.now() });
    const [prelude = '', body] = arrivals
      .map((arrival) => arrival.text)
      .join('')
      .split('\0'.repeat(8));
    expect(JSON.parse(prelude)).toMatchObject({ statusCode: 201 });
    expect(body).toBe('onetwo');
    const at = (wanted: string) => arrivals.find(({ text }) => text.endsWith(wanted))?.at ?? Number.NaN;
    expect(at('two') - at('one')).toBeGreaterThan(200);
  });

  it('has no size limit of 6 MB, and waits for a slow reader', async () => {
    const runner = await testRunner();
    const { body } = await runner.invoke('stream', json({ bytes: 20_000_000 }));
    await new Promise((wake) => setTimeout(wake, 300));
    expect(runner.processes()).toMatchObject([{ busy: true }]);
    expect((await buffer(body)).length).toBeGreaterThan(20_000_000);
  });

  it('that fails before its first byte is an error', async () => {
    const runner = await testRunner();
    await expect(runner.invoke('stream', json({ throwBefore: 'no model' }))).rejects.toMatchObject({
      message: 'no model',
    });
    await expect(runner.invoke('stream', json({ killBefore: true }))).rejects.toMatchObject({
      errorType: 'Runtime.ExitError',
    });
  });

  it('that fails behind its first byte says so at its end', async () => {
    const runner = await testRunner();
    const response = await runner.invoke('stream', json({ throwAfter: 'too late' }));
    expect(await text(response.body)).toMatch(/onetwo$/);
    expect(response.failure()).toMatchObject({ errorType: 'Error', message: 'too late' });
  });

  it('whose process is killed breaks off', async () => {
    const runner = await testRunner();
    const response = await runner.invoke('stream', json({ killAfter: true }));
    await expect(text(response.body)).rejects.toThrow('aborted');
    await until(() => runner.processes().length === 0);
  });

  it('that takes too long is cut', async () => {
    const runner = await testRunner({ functions: [functionOf('stream', { timeoutMs: 600 })] });
    const response = await runner.invoke('stream', json({ chunks: ['one', 'two'], pauseMs: 60_000 }));
    await expect(text(response.body)).rejects.toThrow('aborted');
  });
});

describe('an end', () => {
  it('of the runner ends every process, busy ones too', async () => {
    const runner = await testRunner();
    (await runner.invoke('stream', '{}')).body.resume();
    await runner.call('echo', {});
    await until(() => runner.processes().every(({ busy }) => !busy));
    const busy = runner.call('echo', { sleepMs: 60_000 }).catch((error: unknown) => error);
    await until(() => runner.processes().filter(({ busy }) => busy).length === 1);
    const pids = runner.processes().map(({ pid }) => pid);
    await runner.close();
    expect(pids.filter(lives)).toEqual([]);
    expect(await busy).toMatchObject({ errorType: 'Runtime.ExitError' });
  });

  it('of the runner fails what is still waiting, and what comes after', async () => {
    const runner = await testRunner({ functions: [functionOf('echo', { reservedConcurrency: 5 })] });
    const waiting = [1, 2, 3].map(() => runner.call('echo', {}).catch(String));
    await runner.close();
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 3 }, () => 'Error: The runner has been closed'));
    await expect(runner.call('echo', {})).rejects.toThrow('The runner has been closed');
  });

  it('of the parent, however sudden, ends its processes', async () => {
    const parent = spawn(process.execPath, [resolve(import.meta.dirname, '../fixtures/parent.ts')], { stdio: 'pipe' });
    closeAfterwards({ close: () => parent.kill('SIGKILL') });
    const pids = await new Promise<number[]>((done) =>
      parent.stdout.once('data', (line) => done(JSON.parse(String(line)))),
    );
    expect(pids.filter(lives)).toHaveLength(2);
    parent.kill('SIGKILL');
    await until(() => !pids.some(lives));
  });
});
