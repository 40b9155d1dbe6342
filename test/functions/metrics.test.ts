import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import {
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let generate: Handler;
let sweep: Handler;
const written: string[] = [];

beforeAll(async () => {
  testEnvironment = await startTestEnvironment(({ text }) =>
    text.includes('please fail')
      ? { status: 400, body: { error: { message: 'no' } } }
      : { body: { choices: [{ message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }] } },
  );
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  [generate, sweep] = await Promise.all([
    import('../../functions/generate.ts').then(getHandler),
    import('../../functions/sweep.ts').then(getHandler),
  ]);
});
afterAll(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await testEnvironment[Symbol.asyncDispose]();
});
beforeEach(() => void written.splice(0));

interface Published {
  readonly dimensions: readonly string[];
  readonly line: Readonly<Record<string, unknown>>;
}

/** Returns the log lines that publish a metric, with its dimensions. */
function findPublished(metric: string): Published[] {
  const lines = written.filter((line) => line.startsWith('{"_aws"')).map((line) => JSON.parse(line));
  return lines.flatMap((line) =>
    line._aws.CloudWatchMetrics.filter(({ Metrics }: { Metrics: { Name: string }[] }) =>
      Metrics.some(({ Name }) => Name === metric),
    ).map(({ Dimensions: [dimensions] }: { Dimensions: string[][] }) => ({ dimensions, line })),
  );
}

const makeMessage = (key: string, input: string) => ({
  version: 1,
  type: 'generate',
  tenant: 'local',
  idempotencyKey: key,
  endpoint: '/v1/responses',
  body: { model: 'default', input },
});

it('the generate function publishes for each job its status and how long it waited and ran', async () => {
  await generate(makeQueueEvent(makeMessage('good', 'Hello'), makeMessage('bad', 'please fail')), makeContext());
  const jobs = findPublished('Jobs').map(({ dimensions, line }) => ({ dimensions, status: line['Status'] }));
  expect(jobs.toSorted((a, b) => String(a.status).localeCompare(String(b.status)))).toEqual([
    { dimensions: ['FunctionName', 'Status'], status: 'completed' },
    { dimensions: ['FunctionName', 'Status'], status: 'failed' },
  ]);
  for (const metric of ['JobWaitMs', 'JobRunMs']) {
    expect(findPublished(metric).map(({ line }) => line[metric])).toEqual([expect.any(Number), expect.any(Number)]);
  }
  expect(findPublished('Messages')[0]?.line).toMatchObject({ Messages: 2, MessagesFailed: 0, MessagesRefused: 0 });
  expect(findPublished('KmsErrors')).toMatchObject([
    { dimensions: ['FunctionName'], line: { KmsCalls: 1, KmsErrors: 0 } },
  ]);
});

it('the sweep publishes its metrics with the dimension that the alarms use', async () => {
  await generate(makeQueueEvent(makeMessage('alarms', 'Hello')), makeContext());
  await sweep({}, makeContext());
  expect(findPublished('JobsOverdue')).toMatchObject([{ dimensions: ['FunctionName'], line: { JobsOverdue: 0 } }]);
  expect(findPublished('SweepRuns')).toMatchObject([{ dimensions: ['FunctionName'], line: { SweepRuns: 1 } }]);
});
