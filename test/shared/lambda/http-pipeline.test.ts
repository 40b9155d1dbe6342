import { setImmediate as nextTick } from 'node:timers/promises';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter } from '../../../shared/inference/router.ts';
import { createHttpPipeline, type HttpRequest } from '../../../shared/lambda/http-pipeline.ts';
import type { HttpResponse } from '../../../shared/lambda/http-responder.ts';
import { encodeStream } from '../../../shared/wire/sse.ts';
import { callHttp, makeHttpEvent, ResponseRecorder, stubStreamingGlobals } from '../../functions/concurrency.ts';
import { getHandler, makeContext } from '../../functions/test-environment.ts';
import { waitUntil } from '../../wait.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer, makeRequest } from '../inference/requests.ts';

const TIMEOUT_MS = 30_000;
/** The time that a function needs to send an error and to write its log line. */
const NEEDED_MS = 1_000;

afterEach(() => vi.unstubAllGlobals());

/** Creates the handler of a function with one route. */
function createHandler(run: (request: HttpRequest<string>) => Promise<HttpResponse>) {
  stubStreamingGlobals();
  const telemetry = recordTelemetry();
  const handler = createHttpPipeline<string>({
    routes: { 'GET /v1/models': { run } },
    authorization: { authorize: async () => 'acme', describeCaller: () => ({ tenant: 'acme' }) },
    telemetry: { metrics: telemetry.metrics, forRequest: () => telemetry },
    format: {
      errorResponse: ({ code }) => ({ status: 504, headers: {}, json: { code } }),
      errorFrame: ({ code }) => code,
      keepAliveFrame: ': ping\n\n',
      responseHeaders: () => ({}),
      exposedHeaders: '',
    },
  });
  return { handler: getHandler({ handler }), lines: telemetry.lines };
}

/** Waits until the request is aborted, and throws the reason. */
const waitForAbort = ({ signal }: HttpRequest<string>): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });

/** Calls a route that takes up to `timeoutMs` on a virtual clock. Returns what it has answered so far. */
function startCall(run: (request: HttpRequest<string>) => Promise<HttpResponse>, timeoutMs: number) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const { handler, lines } = createHandler(run);
  const event = makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' });
  const answer: { response?: unknown } = {};
  const call = callHttp(handler, event, makeContext(timeoutMs)).then((result) => {
    answer.response = result;
  });
  const advance = async (ms: number) => {
    for (let tick = 0; tick < 20; tick += 1) await nextTick();
    vi.advanceTimersByTime(ms);
    for (let tick = 0; tick < 20; tick += 1) await nextTick();
  };
  return { answer, advance, call, lines };
}

const EXCEEDED = { statusCode: 504, text: JSON.stringify({ code: 'deadline_exceeded' }) };

it('a request that reaches its deadline is answered and logged before the function times out', async () => {
  const { answer, advance, call, lines } = startCall(waitForAbort, TIMEOUT_MS);
  await advance(0);
  expect(answer.response).toBeUndefined();
  await advance(TIMEOUT_MS - NEEDED_MS);
  expect(answer.response).toMatchObject(EXCEEDED);
  expect(lines.at(-1)).toMatchObject({
    ...{ message: 'request', record: 'call', tenant: 'acme' },
    ...{ status: 504, errorCode: 'deadline_exceeded' },
  });
  await call;
});

it('a request whose response has not begun is ended before API Gateway cuts it after 5 minutes', async () => {
  const { answer, advance, call, lines } = startCall(waitForAbort, 900_000);
  await advance(280_000);
  expect(answer.response).toBeUndefined();
  await advance(15_000);
  expect(answer.response).toMatchObject(EXCEEDED);
  expect(lines.at(-1)).toMatchObject({ message: 'request', status: 504 });
  await call;
});

it('a stream that has begun may last longer than 5 minutes', async () => {
  const { answer, advance, call } = startCall(async (request) => {
    async function* writeFrames() {
      yield 'data: first\n\n';
      await Promise.race([waitForAbort(request), new Promise((resolve) => setTimeout(resolve, 600_000))]);
      yield 'data: last\n\n';
    }
    return { frames: writeFrames() };
  }, 900_000);
  await advance(590_000);
  expect(answer.response).toBeUndefined();
  await advance(20_000);
  expect(answer.response).toMatchObject({ statusCode: 200, text: expect.stringContaining('data: last') });
  await call;
});

it.each(['json', 'frames'] as const)(
  'deferred work is done after the last byte of a response, and the invocation lasts until then: %s',
  async (kind) => {
    const steps: string[] = [];
    const { promise, resolve: finishWork } = Promise.withResolvers<void>();
    async function* writeFrames() {
      yield 'data: first\n\n';
    }
    const { handler } = createHandler(async ({ defer }) => {
      defer?.(async () => {
        steps.push('work');
        await promise;
        steps.push('worked');
      });
      return kind === 'json' ? { json: {} } : { frames: writeFrames() };
    });
    const stream = new ResponseRecorder();
    stream.once('finish', () => steps.push('responded'));
    const event = makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' });
    const call = handler(event, stream, makeContext(TIMEOUT_MS)).then(() => steps.push('ended'));
    await waitUntil('the work is begun', () => steps.includes('work'));
    expect(steps).toEqual(['responded', 'work']);
    finishWork();
    await call;
    expect(steps).toEqual(['responded', 'work', 'worked', 'ended']);
  },
);

it('work that is deferred when a broken response closes its sources is done before the invocation ends', async () => {
  const steps: string[] = [];
  const { handler } = createHandler(async ({ defer }) => {
    async function* writeFrames() {
      try {
        for (;;) {
          await nextTick();
          yield 'data: more\n\n';
        }
      } finally {
        for (let tick = 0; tick < 20; tick += 1) await nextTick();
        defer?.(async () => {
          for (let tick = 0; tick < 20; tick += 1) await nextTick();
          steps.push('worked');
        });
      }
    }
    return { frames: writeFrames() };
  });
  const stream = new ResponseRecorder();
  const event = makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' });
  const call = handler(event, stream, makeContext(TIMEOUT_MS)).catch(() => steps.push('ended'));
  await waitUntil('the stream has begun', () => stream.text.includes('more'));
  stream.destroy(new Error('The connection broke'));
  await call;
  expect(steps).toEqual(['worked', 'ended']);
});

it('a stream whose connection broke before its first frame closes its sources, and is logged', async () => {
  const steps: string[] = [];
  const stream = new ResponseRecorder();
  stream.on('error', () => {});
  const { handler, lines } = createHandler(async ({ defer }) => {
    async function* writeFrames() {
      try {
        stream.destroy(new Error('The connection broke'));
        await nextTick();
        yield 'data: first\n\n';
        yield 'data: second\n\n';
      } finally {
        defer?.(async () => void steps.push('worked'));
      }
    }
    return { frames: writeFrames() };
  });
  const event = makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' });
  await handler(event, stream, makeContext(TIMEOUT_MS)).catch(() => steps.push('ended'));
  expect(steps).toEqual(['worked', 'ended']);
  expect(lines.at(-1)).toMatchObject({ message: 'request', record: 'call', status: 200 });
});

const ROUTER = createRouter({
  registry: parseModelRegistry(
    JSON.stringify({
      models: {
        default: { targets: [{ provider: 'openai-compatible', baseUrl: 'https://x.example/v1', model: 'm' }] },
      },
    }),
    'the models',
  ),
  getCapabilities: () => new Set(),
  createModel: async () => ({
    async *generate() {
      for (let event = 0; event < 20; event += 1) {
        await nextTick();
        yield { type: 'text', text: 'Hello' };
      }
      yield* makeAnswer('.');
    },
  }),
});

it.each([
  ['before its end', 'text', { whole: false }],
  ['while it is stored', 'end', { whole: true, inputTokens: 3, outputTokens: 2 }],
] as const)('the line of a stream that its client leaves %s says how the answer ended', async (_, leftAt, ending) => {
  const stream = new ResponseRecorder();
  const leave = () => stream.destroy(new Error('The client left'));
  const { handler, lines } = createHandler(async ({ signal, deadlineAt, telemetry }) => {
    const { events } = await ROUTER.generate(makeRequest(), { signal, deadlineAt, streamed: true, telemetry });
    const frames = encodeStream(events, {
      encode({ type }) {
        if (type === leftAt) setImmediate(leave);
        return `data: ${type}\n\n`;
      },
      async end() {
        if (leftAt === 'end') leave();
        for (let tick = 0; tick < 20; tick += 1) await nextTick();
        return 'data: [DONE]\n\n';
      },
      fail: () => '',
    });
    return { frames };
  });
  const event = makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' });
  await handler(event, stream, makeContext(TIMEOUT_MS)).catch(() => {});
  const calls = lines.filter(({ record }) => record === 'call');
  expect(
    calls.map(({ status, whole, inputTokens, outputTokens }) => ({ status, whole, inputTokens, outputTokens })),
  ).toEqual([{ status: 200, inputTokens: undefined, outputTokens: undefined, ...ending }]);
});

it('the line of a stream whose source does not close is written before the function times out, once', async () => {
  const { promise: closed, resolve: close } = Promise.withResolvers<IteratorReturnResult<unknown>>();
  const { call, advance, lines } = startCall(async () => {
    async function* writeFrames() {
      yield 'data: first\n\n';
    }
    const frames = writeFrames();
    return { frames: { [Symbol.asyncIterator]: () => ({ next: () => frames.next(), return: () => closed }) } };
  }, TIMEOUT_MS);
  const countLines = () => lines.filter(({ record }) => record === 'call').length;
  await advance(0);
  expect(countLines()).toBe(0);
  await advance(TIMEOUT_MS - NEEDED_MS);
  expect(countLines()).toBe(1);
  close({ done: true, value: undefined });
  await call;
  expect(countLines()).toBe(1);
});

it('work that deferred work defers is done before the invocation ends, too', async () => {
  const steps: string[] = [];
  const { handler } = createHandler(async ({ defer }) => {
    defer?.(async () => {
      await nextTick();
      defer(async () => {
        await nextTick();
        steps.push('worked');
      });
    });
    return { json: {} };
  });
  const event = makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' });
  await handler(event, new ResponseRecorder(), makeContext(TIMEOUT_MS));
  expect(steps).toEqual(['worked']);
});
