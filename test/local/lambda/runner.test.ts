import { execFileSync, spawn } from 'node:child_process';
import { availableParallelism, getPriority } from 'node:os';
import { resolve } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { extendLineage, formatTraceHeader } from '../../../local/lambda/lineage.ts';
import {
  closeAfterwards,
  createGate,
  defineFunction,
  isAlive,
  MANAGED_INSTANCES,
  MODES,
  startTestRunner,
  type TestRunner,
  until,
  useCleanup,
} from '../runners.ts';

useCleanup();

const json = JSON.stringify;
/** Returns the trace header of a first invocation of `echo`. */
const traceHeaderOf = (requestId: string) => formatTraceHeader(requestId, extendLineage([], 'lambent-test-echo'));
/** Returns the numbers from 0 to `count - 1`. */
const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** Waits until the processes of a runner run `count` invocations together. */
const untilRunning = (runner: TestRunner, count: number) =>
  until(() => runner.processes().flatMap(({ requestIds }) => requestIds).length === count);

describe.each(MODES)('the Lambda runner in %s mode', (mode) => {
  it('the runner runs a function in a process with its name as the title', async () => {
    const runner = await startTestRunner({ mode });
    const { pid } = Object(await runner.call('echo', { a: 1 }));
    expect(pid).not.toBe(process.pid);
    expect(execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' })).toContain('lambda:echo');
    await until(() => runner.processes().every(({ busy }) => !busy));
    expect(runner.processes()).toEqual([{ pid, function: 'echo', busy: false, requestIds: [] }]);
  });

  it('the runner loads a function that is an ES module', async () => {
    const runner = await startTestRunner({ mode, functions: [defineFunction('esm')] });
    expect(await runner.call('esm', { a: 1 })).toEqual({ esm: true, event: { a: 1 } });
  });

  it('the runner gives a function the same context as Lambda does', async () => {
    const runner = await startTestRunner({ mode });
    const { requestId, body } = await runner.invoke('echo', json({ context: true }), {
      qualifier: 'provisioned',
      clientContext: '{"custom":1}',
    });
    expect(JSON.parse(await text(body))).toEqual({
      awsRequestId: requestId,
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
      ...(mode === 'managed' ? { xRayTraceId: traceHeaderOf(requestId), storedTraceId: traceHeaderOf(requestId) } : {}),
    });
  });

  it('an invocation may have a request id and a deadline of its own', async () => {
    const runner = await startTestRunner({ mode });
    const options = { requestId: 'r1', remainingMs: 0 };
    const { requestId, body } = await runner.invoke('echo', json({ context: true }), options);
    expect(requestId).toBe('r1');
    // It is past its deadline, but not past the function's timeout.
    expect(JSON.parse(await text(body))).toMatchObject({
      awsRequestId: 'r1',
      remainingMs: expect.toSatisfy((ms: number) => ms <= 0),
    });
  });

  it("a function gets its own variables and Lambda's, and none of the runner's", async () => {
    process.env['SECRET_OF_THE_RUNNER'] = 'leaked';
    const key = { accessKeyId: 'local-key', secretAccessKey: 'secret', expiresAt: Number.POSITIVE_INFINITY };
    const runner = await startTestRunner({
      mode,
      functions: [defineFunction('echo', { environment: { TABLE: 'access' } })],
      credentials: async () => key,
    });
    const env = Object(await runner.call('echo', { env: true }));
    delete process.env['SECRET_OF_THE_RUNNER'];
    expect(env).toMatchObject({
      TABLE: 'access',
      AWS_REGION: 'eu-west-1',
      AWS_LAMBDA_FUNCTION_NAME: 'lambent-test-echo',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      AWS_ACCESS_KEY_ID: 'local-key',
      AWS_SECRET_ACCESS_KEY: 'secret',
      _HANDLER: 'index.handler',
      ...(mode === 'managed'
        ? { AWS_LAMBDA_MAX_CONCURRENCY: '10', AWS_LAMBDA_NODEJS_WORKER_COUNT: '1', AWS_LAMBDA_LOG_FORMAT: 'JSON' }
        : { _X_AMZN_TRACE_ID: expect.stringMatching(/^Root=1-[0-9a-f-]{36};Lineage=[0-9a-f]{8}:1$/) }),
    });
    expect(env).not.toHaveProperty('SECRET_OF_THE_RUNNER');
    expect(env).not.toHaveProperty('HOME');
    if (mode === 'managed') expect(env).not.toHaveProperty('_X_AMZN_TRACE_ID');
    else expect(env).not.toHaveProperty('AWS_LAMBDA_MAX_CONCURRENCY');
  });

  it('the runner returns a response of several megabytes unchanged', async () => {
    const runner = await startTestRunner({ mode });
    const answer = Object(await runner.call('echo', { bytes: 5_000_000 }));
    expect(answer).toHaveLength(5_000_000);
  });

  it('the runner refuses a response of more than 6 MB, and the function keeps serving', async () => {
    const runner = await startTestRunner({ mode });
    await expect(runner.call('echo', { bytes: 6_300_000 })).rejects.toMatchObject({
      errorType: 'Function.ResponseSizeTooLarge',
    });
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('the runner refuses a request of more than 6 MB', async () => {
    const runner = await startTestRunner({ mode });
    await expect(runner.call('echo', { text: 'x'.repeat(6_300_000) })).rejects.toMatchObject({
      type: 'RequestTooLargeException',
      status: 413,
    });
  });

  it('the runner finds a function by its short name, its AWS name and its ARN only', async () => {
    const runner = await startTestRunner({ mode });
    await runner.call('lambent-test-echo', {});
    await runner.call('arn:aws:lambda:eu-west-1:000000000000:function:lambent-test-echo', {});
    await expect(runner.call('unknown', {})).rejects.toMatchObject({ type: 'ResourceNotFoundException' });
  });

  it('the runner reuses a process for invocations that follow one another', async () => {
    const runner = await startTestRunner({ mode });
    for (let call = 0; call < 50; call += 1) await runner.call('echo', {});
    // A process that is slow to ask for more after its answer isn't waited for.
    expect(runner.processes().length).toBeLessThan(5);
  });

  it('the runner throttles invocations beyond a reservation, as Lambda does', async () => {
    const runner = await startTestRunner({ mode, functions: [defineFunction('echo', { reservedConcurrency: 2 })] });
    const gate = createGate();
    const two = range(2).map(() => runner.call('echo', { untilFile: gate.file }));
    await expect(runner.call('echo', {})).rejects.toMatchObject({
      type: 'TooManyRequestsException',
      status: 429,
      reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
    });
    gate.open();
    await Promise.all(two);
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('the runner ends processes that have been idle for a while', async () => {
    const runner = await startTestRunner({ mode, idleMs: 200 });
    const { pid } = Object(await runner.call('echo', {}));
    await until(() => runner.processes().length === 0);
    expect(isAlive(pid)).toBe(false);
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('every waiting invocation fails if no process can get credentials', async () => {
    const credentials = async () => Promise.reject(new Error('no credentials'));
    const runner = await startTestRunner({ mode, credentials });
    const calls = range(availableParallelism() + 2).map(() => runner.invoke('echo', '{}'));
    for (const result of await Promise.allSettled(calls))
      expect(result).toMatchObject({ status: 'rejected', reason: { message: 'no credentials' } });
  });

  it('the runner replaces a process whose credentials have expired', async () => {
    let expiresAt = 0;
    const runner = await startTestRunner({
      mode,
      credentials: async () => ({ accessKeyId: `key-${expiresAt}`, secretAccessKey: 'secret', expiresAt }),
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

  describe('when a function fails', () => {
    it('the runner reports the error of a function as Lambda does, and the process keeps serving', async () => {
      const runner = await startTestRunner({ mode });
      await expect(runner.call('echo', { throw: 'no luck', name: 'LuckError' })).rejects.toMatchObject({
        errorType: 'LuckError',
        message: 'no luck',
      });
      expect(await runner.call('echo', {})).toMatchObject({ pid: runner.processes()[0]?.pid });
    });

    it('the runner fails each invocation with the error that the handler threw while it loaded', async () => {
      const runner = await startTestRunner({ mode, functions: [defineFunction('broken')] });
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await expect(runner.call('broken', {})).rejects.toMatchObject({
          errorType: 'ConfigurationError',
          message: 'no table',
        });
      }
      expect(runner.logs.some(({ text }) => text.includes('ConfigurationError'))).toBe(true);
    });

    it('the runner fails an invocation whose process does not start in time', async () => {
      const runner = await startTestRunner({ mode, initTimeoutMs: 1 });
      await expect(runner.call('echo', {})).rejects.toMatchObject({ errorType: 'Sandbox.Timedout' });
    });

    it('the error for a missing bundle names its folder', async () => {
      const runner = await startTestRunner({ mode, functions: [defineFunction('nowhere')] });
      await expect(runner.call('nowhere', {})).rejects.toThrow('bundles/nowhere');
    });

    it('the runner reports a handler that the bundle does not export', async () => {
      const runner = await startTestRunner({ mode, functions: [defineFunction('echo', { handler: 'index.nothing' })] });
      await expect(runner.call('echo', {})).rejects.toMatchObject({ errorType: 'Runtime.HandlerNotFound' });
    });

    it('an unhandled rejection ends the process and fails its invocation', async () => {
      const runner = await startTestRunner({ mode });
      await expect(runner.call('echo', { reject: 'forgotten' })).rejects.toMatchObject({
        errorType: 'Runtime.UnhandledPromiseRejection',
        message: 'forgotten',
      });
      expect(await runner.call('echo', {})).toMatchObject({ event: {} });
    });

    it.each([
      { how: 'exits', event: { exit: 3 }, message: 'exit status 3' },
      { how: 'is killed', event: { kill: true }, message: 'signal: SIGKILL' },
    ])(
      'the runner fails the invocation of a process that $how, and the next invocation works',
      async ({ event, message }) => {
        const runner = await startTestRunner({ mode });
        await expect(runner.call('echo', event)).rejects.toMatchObject({
          errorType: 'Runtime.ExitError',
          message: expect.stringContaining(message),
        });
        expect(await runner.call('echo', {})).toMatchObject({ event: {} });
      },
    );

    it('the runner replaces a process that is killed while it is idle', async () => {
      const runner = await startTestRunner({ mode });
      const { pid } = Object(await runner.call('echo', {}));
      process.kill(pid, 'SIGKILL');
      await until(() => runner.processes().length === 0);
      expect(await runner.call('echo', {})).toMatchObject({ event: {} });
    });

    it.each([{ sleepMs: 60_000 }, { spin: true }])(
      'the runner fails an invocation that exceeds its timeout: %j',
      async (event) => {
        const runner = await startTestRunner({ mode, functions: [defineFunction('echo', { timeoutMs: 600 })] });
        await expect(runner.call('echo', event)).rejects.toMatchObject({
          errorType: 'Sandbox.Timedout',
          message: expect.stringMatching(/^RequestId: [0-9a-f-]{36} Error: Task timed out after 0\.60 seconds$/),
        });
      },
    );
  });

  describe('when a function streams', () => {
    it('a stream begins with the prelude, and has each chunk when the handler writes it', async () => {
      const runner = await startTestRunner({ mode });
      const gate = createGate();
      const instructions = { chunks: ['one', 'two'], untilFile: gate.file, status: 201 };
      const response = await runner.invoke('stream', json(instructions));
      expect(response.streamed).toBe(true);
      expect(response.contentType).toBe('application/vnd.awslambda.http-integration-response');
      let received = '';
      for await (const chunk of response.body) {
        received += String(chunk);
        // The function writes the second chunk only after the first has arrived.
        if (received.endsWith('one')) gate.open();
      }
      const [prelude = '', body] = received.split('\0'.repeat(8));
      expect(JSON.parse(prelude)).toMatchObject({ statusCode: 201 });
      expect(body).toBe('onetwo');
    });

    it('a stream has no limit of 6 MB, and its function waits for a slow reader', async () => {
      const runner = await startTestRunner({ mode });
      const { body, requestId } = await runner.invoke('stream', json({ bytes: 20_000_000 }));
      await new Promise((wake) => setTimeout(wake, 300));
      expect(runner.processes()).toMatchObject([{ busy: true, requestIds: [requestId] }]);
      expect((await buffer(body)).length).toBeGreaterThan(20_000_000);
    });

    it('a stream that fails before its first byte is an empty response with the error at its end', async () => {
      const runner = await startTestRunner({ mode });
      for (const [instructions, error] of [
        [{ throwBefore: 'no model' }, { errorType: 'Error', message: 'no model' }],
        [{ throwPrelude: 'no model' }, { errorType: 'Error', message: 'no model' }],
        [{ synchronous: true }, { errorType: 'Error', message: 'Streaming does not support non-async handlers.' }],
      ] as const) {
        const response = await runner.invoke('stream', json(instructions));
        expect(response.streamed).toBe(true);
        expect(await text(response.body)).toBe('');
        expect(response.failure()).toMatchObject(error);
      }
    });

    it('the runner rejects a streamed invocation whose process ends before its first byte', async () => {
      const runner = await startTestRunner({ mode });
      await expect(runner.invoke('stream', json({ killBefore: true }))).rejects.toMatchObject({
        errorType: 'Runtime.ExitError',
      });
    });

    it('the runner reports an error after the first byte at the end of the stream', async () => {
      const runner = await startTestRunner({ mode });
      const response = await runner.invoke('stream', json({ throwAfter: 'too late' }));
      expect(await text(response.body)).toMatch(/onetwo$/);
      expect(response.failure()).toMatchObject({ errorType: 'Error', message: 'too late' });
    });

    it('the runner cuts the stream of a process that is killed', async () => {
      const runner = await startTestRunner({ mode });
      const response = await runner.invoke('stream', json({ chunks: ['one', 'two'], untilFile: createGate().file }));
      for (const { pid } of runner.processes()) process.kill(pid, 'SIGKILL');
      await expect(text(response.body)).rejects.toThrow('aborted');
      await until(() => runner.processes().length === 0);
    });

    it('the runner cuts a stream that exceeds the timeout', async () => {
      const runner = await startTestRunner({ mode, functions: [defineFunction('stream', { timeoutMs: 3_000 })] });
      const response = await runner.invoke('stream', json({ chunks: ['one', 'two'], pauseMs: 60_000 }));
      await expect(text(response.body)).rejects.toThrow('aborted');
    });
  });

  describe('when the runner is closed', () => {
    it('closing the runner ends every process, busy processes too', async () => {
      const runner = await startTestRunner({ mode });
      (await runner.invoke('stream', '{}')).body.resume();
      await runner.call('echo', {});
      await until(() => runner.processes().every(({ busy }) => !busy));
      const busy = runner.call('echo', { sleepMs: 60_000 }).catch((error: unknown) => error);
      await until(() => runner.processes().filter(({ busy }) => busy).length === 1);
      const pids = runner.processes().map(({ pid }) => pid);
      await runner.close();
      expect(pids.filter(isAlive)).toEqual([]);
      expect(await busy).toMatchObject({ errorType: 'Runtime.ExitError' });
    });

    it('closing the runner fails waiting and later invocations', async () => {
      const runner = await startTestRunner({ mode, functions: [defineFunction('echo', { reservedConcurrency: 5 })] });
      const waiting = [1, 2, 3].map(() => runner.call('echo', {}).catch(String));
      await runner.close();
      expect(await Promise.all(waiting)).toEqual(Array.from({ length: 3 }, () => 'Error: The runner has been closed'));
      await expect(runner.call('echo', {})).rejects.toThrow('The runner has been closed');
    });

    it("all function processes end if the runner's own process is killed", async () => {
      const parent = spawn(process.execPath, [resolve(import.meta.dirname, '../fixtures/parent.ts'), mode]);
      closeAfterwards({ close: () => parent.kill('SIGKILL') });
      const pids = await new Promise<number[]>((done) =>
        parent.stdout.once('data', (line) => done(JSON.parse(String(line)))),
      );
      expect(pids.filter(isAlive)).toHaveLength(2);
      parent.kill('SIGKILL');
      await until(() => !pids.some(isAlive));
    });
  });
});

describe('a function in standard mode', () => {
  it('a function in standard mode has a process for each concurrent invocation', async () => {
    const runner = await startTestRunner();
    const gate = createGate();
    const calls = range(3).map(() => runner.call('echo', { untilFile: gate.file }));
    await untilRunning(runner, 3);
    gate.open();
    const answers = await Promise.all(calls);
    expect(new Set(answers.map((answer) => Object(answer).pid)).size).toBe(3);
    expect(runner.processes()).toHaveLength(3);
  });

  it('a function in standard mode starts few processes at once, however many invocations wait', async () => {
    const runner = await startTestRunner();
    const answers = Promise.all(range(8).map(() => runner.call('echo', { sleepMs: 500 })));
    let most = 0;
    await until(() => {
      // A process that is busy without an invocation is starting.
      const starting = runner.processes().filter(({ busy, requestIds }) => busy && requestIds.length === 0);
      most = Math.max(most, starting.length);
      return runner.processes().some(({ requestIds }) => requestIds.length > 0);
    });
    expect(most).toBe(Math.max(1, Math.floor(availableParallelism() / 2)));
    await answers;
  });

  it('a function has a lower priority than the local cloud, and a background function an even lower one', async () => {
    const runner = await startTestRunner({
      functions: [defineFunction('echo'), defineFunction('echo', { name: 'queued', background: true })],
    });
    const niceness = async (name: string) => getPriority(Object(await runner.call(name, {})).pid) - getPriority();
    expect([await niceness('echo'), await niceness('queued')]).toEqual([5, 12]);
  });

  it("functions in standard mode share the account's concurrency, except a function with a reservation", async () => {
    const runner = await startTestRunner({
      functions: [defineFunction('echo'), defineFunction('stream'), defineFunction('esm', { reservedConcurrency: 1 })],
      concurrency: 1,
    });
    const one = runner.call('echo', { sleepMs: 300 });
    await expect(runner.invoke('stream', '{}')).rejects.toMatchObject({ reason: 'ConcurrentInvocationLimitExceeded' });
    expect(await runner.call('esm', {})).toMatchObject({ esm: true });
    await one;
  });

  it('the console lines of a function in standard mode are passed on unchanged', async () => {
    const runner = await startTestRunner();
    await runner.call('echo', { log: 'hello\nworld' });
    await until(() => runner.logs.length === 2);
    expect(runner.logs.map(({ function: name, stream, text }) => [name, stream, text])).toEqual([
      ['echo', 'stdout', 'hello'],
      ['echo', 'stdout', 'world'],
    ]);
  });

  it.each([{ sleepMs: 60_000 }, { spin: true }])(
    'a function in standard mode loses its process when it exceeds its timeout: %j',
    async (event) => {
      const runner = await startTestRunner({ functions: [defineFunction('echo', { timeoutMs: 600 })] });
      await expect(runner.call('echo', event)).rejects.toMatchObject({ errorType: 'Sandbox.Timedout' });
      await until(() => runner.processes().length === 0);
    },
  );
});

describe('a function in managed mode', () => {
  const mode = 'managed';
  const { maxConcurrency, maxEnvironments } = MANAGED_INSTANCES;

  /** Invokes `echo` with each set of instructions, and returns the responses and errors in the same order. */
  const callAll = (runner: TestRunner, instructions: readonly object[]) =>
    Promise.all(instructions.map((event) => runner.call('echo', event).catch((error: unknown) => error)));

  it('a function in managed mode serves concurrent invocations in one process', async () => {
    const runner = await startTestRunner({ mode });
    const answers = await callAll(
      runner,
      range(maxConcurrency).map((a) => ({ a, sleepMs: 300 })),
    );
    expect(answers.map((answer) => Object(answer).event.a)).toEqual(range(maxConcurrency));
    expect(new Set(answers.map((answer) => Object(answer).pid)).size).toBe(1);
    expect(runner.processes()).toHaveLength(1);
  });

  it('a function in managed mode has a second process for invocations beyond its maximum concurrency', async () => {
    const runner = await startTestRunner({ mode });
    const gate = createGate();
    const calls = callAll(
      runner,
      range(maxConcurrency + 1).map(() => ({ untilFile: gate.file })),
    );
    await untilRunning(runner, maxConcurrency + 1);
    gate.open();
    const answers = await calls;
    expect(new Set(answers.map((answer) => Object(answer).pid)).size).toBe(2);
  });

  it('a function in managed mode is throttled when all its processes are at their maximum concurrency', async () => {
    const runner = await startTestRunner({ mode });
    const gate = createGate();
    const most = callAll(
      runner,
      range(maxConcurrency * maxEnvironments).map(() => ({ untilFile: gate.file })),
    );
    await untilRunning(runner, maxConcurrency * maxEnvironments);
    await expect(runner.call('echo', {})).rejects.toMatchObject({
      type: 'TooManyRequestsException',
      reason: 'ConcurrentInvocationLimitExceeded',
    });
    gate.open();
    const pids = (await most).map((answer) => Object(answer).pid);
    expect(new Set(pids).size).toBe(maxEnvironments);
  });

  it('a function in managed mode takes no concurrency from the account', async () => {
    const runner = await startTestRunner({
      functions: [defineFunction('echo', { managedInstances: MANAGED_INSTANCES }), defineFunction('esm')],
      concurrency: 1,
    });
    const several = callAll(
      runner,
      range(3).map(() => ({ sleepMs: 300 })),
    );
    expect(await runner.call('esm', {})).toMatchObject({ esm: true });
    await several;
  });

  it('each of many interleaved invocations in managed mode has its own context, deadline and trace id', async () => {
    const runner = await startTestRunner({ mode });
    const contexts = await Promise.all(
      range(maxConcurrency).map(async (index) => {
        await new Promise((wake) => setTimeout(wake, 20 * index));
        const { requestId, body } = await runner.invoke('echo', json({ context: true, sleepMs: 400 - 30 * index }));
        return [requestId, JSON.parse(await text(body))] as const;
      }),
    );
    expect(new Set(contexts.map(([requestId]) => requestId)).size).toBe(maxConcurrency);
    for (const [index, [requestId, context]] of contexts.entries()) {
      const [xRayTraceId, storedTraceId] = [traceHeaderOf(requestId), traceHeaderOf(requestId)];
      expect(context).toMatchObject({ awsRequestId: requestId, xRayTraceId, storedTraceId });
      expect(context.remainingMs).toBeLessThanOrEqual(20_000 - (400 - 30 * index) + 5);
    }
  });

  it('each console line in managed mode has the request id of the invocation that wrote it', async () => {
    const runner = await startTestRunner({ mode });
    const requestIds = await Promise.all(
      range(maxConcurrency).map(async (index) => {
        const { requestId, body } = await runner.invoke('echo', json({ log: `line\n${index}`, sleepMs: 200 - index }));
        body.resume();
        return requestId;
      }),
    );
    await until(() => runner.logs.length === maxConcurrency);
    const lines = runner.logs.map(({ text }) => JSON.parse(text));
    expect(lines).toEqual(
      expect.arrayContaining(
        requestIds.map((requestId, index) => ({
          timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
          level: 'INFO',
          requestId,
          message: `line\n${index}`,
        })),
      ),
    );
  });

  it.each([
    { how: 'exits', event: { exit: 3 }, errorType: 'Runtime.ExitError' },
    { how: 'is killed', event: { kill: true }, errorType: 'Runtime.ExitError' },
    { how: 'crashes', event: { reject: 'forgotten' }, errorType: 'Runtime.UnhandledPromiseRejection' },
  ])('all invocations of a managed process fail if the process $how', async ({ event, errorType }) => {
    const runner = await startTestRunner({ mode });
    await runner.call('echo', {});
    const others = callAll(
      runner,
      range(3).map(() => ({ sleepMs: 60_000 })),
    );
    await until(() => runner.processes()[0]?.requestIds.length === 3);
    await expect(runner.call('echo', event)).rejects.toMatchObject({ errorType });
    expect(await others).toMatchObject(range(3).map(() => ({ errorType })));
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('a managed process and its other invocations go on after the timeout of one invocation', async () => {
    const runner = await startTestRunner({ mode, functions: [defineFunction('echo', { timeoutMs: 4_000 })] });
    const gate = createGate();
    const { pid } = Object(await runner.call('echo', {}));
    const slow = runner.call('echo', { sleepMs: 5_000, log: 'ran on' });
    slow.catch(() => undefined);
    // The other invocation begins later, so that its own timeout comes later.
    await new Promise((wake) => setTimeout(wake, 2_000));
    const neighbour = runner.call('echo', { untilFile: gate.file });
    await expect(slow).rejects.toMatchObject({ errorType: 'Sandbox.Timedout' });
    gate.open();
    expect(await neighbour).toMatchObject({ pid });
    await until(() => runner.logs.some((line) => line.text.includes('ran on')));
    expect(await runner.call('echo', {})).toMatchObject({ pid });
  });

  it('a handler in managed mode that runs on after its timeout still occupies its process', async () => {
    const managedInstances = { maxConcurrency: 2, maxEnvironments: 2 };
    const runner = await startTestRunner({
      mode,
      functions: [defineFunction('echo', { timeoutMs: 4_000, managedInstances })],
    });
    await expect(runner.call('echo', { sleepMs: 60_000 })).rejects.toMatchObject({ errorType: 'Sandbox.Timedout' });
    expect(runner.processes()).toHaveLength(1);
    const two = callAll(runner, [{ sleepMs: 500 }, { sleepMs: 500 }]);
    await until(() => runner.processes().length === 2);
    await two;
  });

  it('a managed process with a blocked event loop is ended once an invocation has timed out', async () => {
    const runner = await startTestRunner({ mode, functions: [defineFunction('echo', { timeoutMs: 2_000 })] });
    await expect(runner.call('echo', { spin: true })).rejects.toMatchObject({ errorType: 'Sandbox.Timedout' });
    await until(() => runner.processes().length === 0);
    expect(await runner.call('echo', {})).toMatchObject({ event: {} });
  });

  it('a managed process whose credentials have expired finishes its invocations', async () => {
    let expiresAt = Number.POSITIVE_INFINITY;
    const runner = await startTestRunner({
      mode,
      credentials: async () => ({ accessKeyId: 'key', secretAccessKey: 'secret', expiresAt }),
    });
    expiresAt = Date.now() + 500;
    const first = runner.call('echo', { sleepMs: 1_500 });
    await until(() => runner.processes().some(({ requestIds }) => requestIds.length === 1));
    await until(() => Date.now() > expiresAt);
    expiresAt = Number.POSITIVE_INFINITY;
    const { pid } = Object(await runner.call('echo', {}));
    expect(Object(await first).pid).not.toBe(pid);
    await until(() => runner.processes().length === 1);
    expect(runner.processes()).toMatchObject([{ pid }]);
  });
});
