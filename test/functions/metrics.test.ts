import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { makeContext, makeQueueEvent, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

let surroundings: TestEnvironment;
let generate: (event: unknown, context: unknown) => Promise<unknown>;
let sweep: (event: unknown, context: unknown) => Promise<unknown>;
const written: string[] = [];

beforeAll(async () => {
  surroundings = await startTestEnvironment(({ text }) =>
    text.includes('please fail')
      ? { status: 400, body: { error: { message: 'no' } } }
      : { body: { choices: [{ message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }] } },
  );
  for (const [name, value] of Object.entries(surroundings.environment)) vi.stubEnv(name, value);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  const functions = await Promise.all([import('../../functions/generate.ts'), import('../../functions/sweep.ts')]);
  generate = (event, context) => Promise.resolve(Reflect.apply(functions[0].handler, undefined, [event, context]));
  sweep = (event, context) => Promise.resolve(Reflect.apply(functions[1].handler, undefined, [event, context]));
});
afterAll(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await surroundings[Symbol.asyncDispose]();
});
beforeEach(() => void written.splice(0));

interface Published {
  readonly dimensions: readonly string[];
  readonly line: Readonly<Record<string, unknown>>;
}

/** Lines that CloudWatch reads this metric from, with the dimensions that they publish it under. */
function published(metric: string): Published[] {
  const lines = written.filter((line) => line.startsWith('{"_aws"')).map((line) => JSON.parse(line));
  return lines.flatMap((line) =>
    line._aws.CloudWatchMetrics.filter(({ Metrics }: { Metrics: { Name: string }[] }) =>
      Metrics.some(({ Name }) => Name === metric),
    ).map(({ Dimensions: [dimensions] }: { Dimensions: string[][] }) => ({ dimensions, line })),
  );
}

const aMessage = (key: string, input: string) => ({
  version: 1,
  type: 'generate',
  tenant: 'local',
  idempotencyKey: key,
  endpoint: '/v1/responses',
  body: { model: 'default', input },
});

test('count jobs by the status that they ended in, with the times that they waited and ran', async () => {
  await generate(makeQueueEvent(aMessage('good', 'Hello'), aMessage('bad', 'please fail')), makeContext());
  const jobs = published('Jobs').map(({ dimensions, line }) => ({ dimensions, status: line['Status'] }));
  expect(jobs.toSorted((a, b) => String(a.status).localeCompare(String(b.status)))).toEqual([
    { dimensions: ['FunctionName', 'Status'], status: 'completed' },
    { dimensions: ['FunctionName', 'Status'], status: 'failed' },
  ]);
  for (const metric of ['JobWaitMs', 'JobRunMs']) {
    expect(published(metric).map(({ line }) => line[metric])).toEqual([expect.any(Number), expect.any(Number)]);
  }
  expect(published('Messages')[0]?.line).toMatchObject({ Messages: 2, MessagesFailed: 0, MessagesRefused: 0 });
  expect(published('KmsErrors')).toMatchObject([{ dimensions: ['FunctionName'], line: { KmsCalls: 1, KmsErrors: 0 } }]);
});

test('are published under the name and dimension that the alarms watch', async () => {
  await generate(makeQueueEvent(aMessage('alarms', 'Hello')), makeContext());
  await sweep({}, makeContext());
  expect(published('JobsOverdue')).toMatchObject([{ dimensions: ['FunctionName'], line: { JobsOverdue: 0 } }]);
  expect(published('SweepRuns')).toMatchObject([{ dimensions: ['FunctionName'], line: { SweepRuns: 1 } }]);
});
