import { setImmediate as nextTick } from 'node:timers/promises';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { createHttpPipeline, type HttpRequest } from '../../../shared/lambda/http-pipeline.ts';
import { callHttp, makeHttpEvent, stubStreamingGlobals } from '../../functions/concurrency.ts';
import { getHandler, makeContext } from '../../functions/test-environment.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

const TIMEOUT_MS = 30_000;
/** The time that a function needs to send an error and to write its log line. */
const NEEDED_MS = 1_000;

afterEach(() => vi.unstubAllGlobals());

/** Creates the handler of a function with one route. */
function createHandler(run: (request: HttpRequest<string>) => Promise<never>) {
  stubStreamingGlobals();
  const telemetry = recordTelemetry();
  const handler = createHttpPipeline<string, { run: typeof run }>({
    routes: { 'GET /v1/models': { run } },
    authorization: { authorize: () => 'acme', logFields: (tenant) => ({ tenant }) },
    telemetry: { metrics: telemetry.metrics, forRequest: () => telemetry },
    format: {
      errorResponse: ({ code }) => ({ status: 504, headers: {}, json: { code } }),
      errorFrame: ({ code }) => code,
      responseHeaders: () => ({}),
      exposedHeaders: '',
    },
  });
  return { handler: getHandler({ handler }), lines: telemetry.lines };
}

it('a request that reaches its deadline is answered and logged before the function times out', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const { handler, lines } = createHandler(
    ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      }),
  );
  let response: unknown;
  const call = callHttp(
    handler,
    makeHttpEvent({ requestId: 'request', route: 'GET /v1/models' }),
    makeContext(TIMEOUT_MS),
  ).then((result) => {
    response = result;
  });
  for (let tick = 0; tick < 20; tick += 1) await nextTick();
  expect(response).toBeUndefined();
  vi.advanceTimersByTime(TIMEOUT_MS - NEEDED_MS);
  for (let tick = 0; tick < 20; tick += 1) await nextTick();
  expect(response).toMatchObject({ statusCode: 504, text: JSON.stringify({ code: 'deadline_exceeded' }) });
  expect(lines.at(-1)).toMatchObject({ message: 'request', status: 504 });
  await call;
});
