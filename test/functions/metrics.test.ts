import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import {
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  receiveEvent,
  startTestEnvironment,
  sweepUntil,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let intake: Handler;
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
  [intake, generate, sweep] = await Promise.all([
    import('../../functions/intake.ts').then(getHandler),
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
  const lines = written.filter((line) => line.includes('"_aws":')).map((line) => JSON.parse(line));
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

/** Turns messages into jobs and returns their tickets. */
async function acceptMessages(...messages: object[]) {
  await intake(makeQueueEvent(...messages), makeContext());
  return receiveEvent(testEnvironment, testEnvironment.jobsQueueUrl);
}

it('the generate function publishes for each job its status and how long it waited and ran', async () => {
  const tickets = await acceptMessages(makeMessage('good', 'Hello'), makeMessage('bad', 'please fail'));
  written.splice(0);
  await generate(tickets, makeContext());
  const jobs = findPublished('Jobs').map(({ dimensions, line }) => ({ dimensions, status: line['Status'] }));
  expect(jobs.toSorted((a, b) => String(a.status).localeCompare(String(b.status)))).toEqual([
    { dimensions: ['FunctionName', 'Status'], status: 'completed' },
    { dimensions: ['FunctionName', 'Status'], status: 'failed' },
  ]);
  for (const metric of ['JobWaitMs', 'JobRunMs']) {
    expect(findPublished(metric).map(({ line }) => line[metric])).toEqual([expect.any(Number), expect.any(Number)]);
  }
  expect(findPublished('Messages').map(({ line }) => line)).toMatchObject([{ Messages: 1 }, { Messages: 1 }]);
  for (const metric of ['MessagesFailed', 'MessagesRefused', 'KmsErrors', 'StoreErrors'])
    expect(findPublished(metric), metric).toEqual([]);
});

it('the sweep publishes its metrics with the dimensions that the alarms use', async () => {
  await acceptMessages(makeMessage('alarms', 'Hello'), makeMessage('more', 'Hello'));
  await sweepUntil(sweep, async () => {
    const isCounted = findPublished('JobsWaiting').length === 1;
    if (!isCounted) written.splice(0);
    return isCounted;
  });
  const waiting = findPublished('JobsWaiting').map(({ dimensions, line }) => ({
    dimensions,
    queue: line['Queue'],
    jobs: line['JobsWaiting'],
  }));
  expect(waiting.toSorted((a, b) => String(a.queue).localeCompare(String(b.queue)))).toEqual([
    { dimensions: ['FunctionName', 'Queue'], queue: 'jobs', jobs: 2 },
  ]);
});
