import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { LOCAL_API_KEY } from '../local/seed.ts';
import type { Policy } from '../shared/access/policy.ts';
import { computeMedian } from '../test/measure/statistics.ts';
import { type PairedResult, type PairedTarget, runPaired } from './load/paired.ts';
import { measureLogLine } from './log-line.ts';
import { type ServerProcess, startServer } from './processes.ts';
import { formatNumber, type Report } from './report/report.ts';
import { bundleFunction, MODEL, REGION } from './targets/functions.ts';
import { createChatBody, getAnswerEnd } from './targets/lambda-events.ts';
import { startRequestCounter } from './targets/request-counter.ts';
import { DIRECT } from './targets/targets.ts';

const UNLIMITED = 'unlimited key';
const OF_KEY = 'limits of the key';
const OF_ALL = 'limits of key, project and account';
const FLOOR = 'two requests to DynamoDB alone';
const TABLE = 'limits';
/** Dollars: a budget counts only models with a price. */
const PRICE = { inputPerMillion: 1, outputPerMillion: 5 };
const CREDENTIALS = { AWS_REGION: REGION, AWS_ACCESS_KEY_ID: 'bench', AWS_SECRET_ACCESS_KEY: 'bench' };

const LIMITS = {
  requestsPerMinute: 1_000_000,
  tokensPerMinute: 1_000_000_000,
  streamsInFlight: 1_000,
  dollarsPerMonth: 1e6,
};
const POLICIES: Readonly<Record<string, Policy | undefined>> = {
  [UNLIMITED]: undefined,
  [OF_KEY]: { key: { limits: LIMITS } },
  [OF_ALL]: { key: { limits: LIMITS }, project: { limits: LIMITS }, account: { limits: LIMITS } },
};

/** Budgets of a warm call: milliseconds that limits add to its median, and requests to DynamoDB. */
const BUDGET_MS = 3;
const BUDGET_REQUESTS = 2;

/** So many that the code which each call runs is compiled. */
const WARM_UP_ANSWERS = 500;
const REQUESTS = 8;
/** Calls whose requests to DynamoDB are counted, after those that warm up. */
const COUNTED = 200;

export interface LimitsOptions {
  /** Measurements per target, interleaved. */
  readonly rounds: number;
}

interface Result {
  readonly target: string;
  /** Milliseconds until the first byte of the body, the median of all rounds. */
  readonly ms: number;
  /** Milliseconds above the unlimited key in the same round, the median of all rounds; the floor's, above the upstream. */
  readonly addedMs: number;
  readonly cpuMs: number;
  /** Milliseconds of processor time above the unlimited key; all of the floor's. */
  readonly addedCpuMs: number;
  /** Requests to DynamoDB per call. */
  readonly requests: number;
}

const NOTHING: PairedResult = { firstByteMs: [], cpuMs: Number.NaN };

/** Measures what limits add to a warm chat call. */
export async function benchLimits({ rounds }: LimitsOptions): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  try {
    await using upstream = await startServer(resolveFile('upstream.ts'));
    await using tables = await startServer(resolveFile('table-server.ts'), [join(folder, 'tables')]);
    await createTable(tables.url);
    const definition = await bundleFunction('functions/chat.ts', folder, {
      ...{ MODELS_FILE: await writeModels(folder, upstream.url), LIMITS_TABLE: TABLE },
      ...CREDENTIALS,
    });
    const start = (policy: Policy | undefined, tablesUrl: string): Promise<ServerProcess> => {
      const environment = { ...definition.environment, AWS_ENDPOINT_URL_DYNAMODB: tablesUrl };
      const args = policy === undefined ? [] : [JSON.stringify(policy)];
      return startServer(resolveFile('handler.ts'), [JSON.stringify({ ...definition, environment }), ...args]);
    };

    const counted: number[] = [];
    for (const policy of Object.values(POLICIES)) {
      await using counter = await startRequestCounter('dynamodb');
      counter.target = tables.url;
      await using handler = await start(policy, counter.url);
      const load = { warmUpAnswers: WARM_UP_ANSWERS, rounds: 1 };
      await runPaired({ ...load, targets: [toTarget(handler)], requests: 2 });
      counter.reset();
      await runPaired({ warmUpAnswers: 0, rounds: 1, targets: [toTarget(handler)], requests: COUNTED });
      counted.push([...counter.counts().values()].reduce((sum, { requests }) => sum + requests, 0) / COUNTED);
    }

    await using open = new AsyncDisposableStack();
    const environment = { ...process.env, ...CREDENTIALS, AWS_ENDPOINT_URL_DYNAMODB: tables.url };
    const bare = open.use(await startServer(resolveFile('table-requests.ts'), [TABLE], environment));
    const targets = [toTarget(upstream), { ...toTarget(bare), expected: 'counted' }];
    for (const policy of Object.values(POLICIES)) targets.push(toTarget(open.use(await start(policy, tables.url))));
    const [direct = NOTHING, floor = NOTHING, unlimited = NOTHING, ...limited] = await runPaired({
      targets,
      warmUpAnswers: WARM_UP_ANSWERS,
      rounds,
      requests: REQUESTS,
    });
    const compare = (target: string, result: PairedResult, base: PairedResult, requests: number): Result => ({
      target,
      ms: computeMedian(result.firstByteMs),
      addedMs: computeMedian(result.firstByteMs.map((ms, round) => ms - (base.firstByteMs[round] ?? Number.NaN))),
      cpuMs: result.cpuMs,
      addedCpuMs: result.cpuMs - base.cpuMs,
      requests,
    });
    const results = [unlimited, ...limited].map((result, index) =>
      compare(Object.keys(POLICIES)[index] ?? '', result, unlimited, counted[index] ?? Number.NaN),
    );
    const bareResult = compare(FLOOR, floor, { ...direct, cpuMs: 0 }, BUDGET_REQUESTS);
    const times = { directMs: computeMedian(direct.firstByteMs), lineUs: measureLogLine() };
    return toReport(results, bareResult, times, rounds);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const resolveFile = (name: string) => join(import.meta.dirname, 'targets', name);

function toTarget({ url, pid }: ServerProcess): PairedTarget {
  return {
    ...{ url: `${url}/v1/chat/completions`, headers: { authorization: `Bearer ${LOCAL_API_KEY}` }, pid },
    ...{ body: createChatBody(MODEL, false), streamed: false, expected: getAnswerEnd('chat/completions', false) },
  };
}

async function writeModels(folder: string, upstream: string): Promise<string> {
  const file = join(folder, 'models.json');
  const target = { provider: 'openai-compatible', model: 'bench', baseUrl: `${upstream}/v1`, price: PRICE };
  await writeFile(file, JSON.stringify({ models: { [MODEL]: { targets: [target] } } }));
  return file;
}

async function createTable(endpoint: string): Promise<void> {
  const credentials = { accessKeyId: 'bench', secretAccessKey: 'bench' };
  const client = new DynamoDBClient({ endpoint, region: REGION, credentials });
  await client.send(
    new CreateTableCommand({
      TableName: TABLE,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    }),
  );
  client.destroy();
}

function toReport(
  results: readonly Result[],
  floor: Result,
  { directMs, lineUs }: { readonly directMs: number; readonly lineUs: number },
  rounds: number,
): Report {
  const [unlimited, ...limited] = results;
  const one = { label: '', value: 1, unit: '' };
  const toRow = ({ target, ms, addedMs, cpuMs, addedCpuMs, requests }: Result): string[] => [
    target,
    formatNumber(ms),
    ...(target === UNLIMITED
      ? ['–', '–', formatNumber(cpuMs), '–', '–']
      : [
          formatNumber(addedMs),
          formatNumber(addedMs / floor.addedMs),
          formatNumber(cpuMs),
          formatNumber(addedCpuMs),
          formatNumber(addedCpuMs / floor.addedCpuMs),
        ]),
    formatNumber(requests),
  ];
  return {
    name: 'limits',
    title: 'Limits: what they add to a warm call',
    method: [
      'A client process sends the same buffered chat completion, in turn, to three processes of the chat function’s bundle behind `node:http`: to one for a key without limits, one for a key with four limits of its own, and one for a key whose project and account have these limits, too. All have the same upstream, which responds at once, and the same stand-in for DynamoDB, in a process of its own. “Added” is the time above the key without limits in the same round.',
      'The floor is a server that makes two small updates with the same client of the AWS SDK and nothing else; what it adds is its time above that of the upstream, and all of its processor time. A function settles after the response, so that a limited call waits for one of its two requests.',
      `Requests to DynamoDB are counted apart from the times, over ${COUNTED} calls after ${WARM_UP_ANSWERS} others. They include leases of shared limits, and the read that only a stand-in needs after a refused write.`,
      `Every call, limited or not, also writes one log line, from which another function makes the audit log and the usage. So that line is in all figures, and in no “added” one. To format and write it takes ${formatNumber(lineUs)} µs by itself, and no request to DynamoDB.`,
    ],
    tables: [
      {
        caption: `Warm buffered chat completion: median of ${rounds} interleaved rounds of ${REQUESTS} requests`,
        columns: [
          'target',
          'p50 ms',
          'added p50 ms',
          '× floor',
          'CPU ms',
          'added CPU ms',
          '× floor',
          'requests per call',
        ],
        rows: [[DIRECT, formatNumber(directMs), '–', '–', '–', '–', '–', '–'], ...[floor, ...results].map(toRow)],
      },
    ],
    budgets: [
      ...limited.flatMap(({ target, addedMs, requests }) => [
        {
          metric: `added p50, ${target}`,
          measured: { label: 'added', value: addedMs, unit: 'ms' },
          against: { label: 'budget', value: BUDGET_MS, unit: 'ms' },
          limit: 1,
        },
        {
          metric: `DynamoDB requests per call, ${target}`,
          measured: { label: 'requests', value: requests, unit: '' },
          against: { label: 'budget', value: BUDGET_REQUESTS, unit: '' },
          // A shared limit is leased from now and then.
          limit: target === OF_KEY ? 1 : 1.1,
        },
      ]),
      {
        metric: `DynamoDB requests per call, ${UNLIMITED}`,
        measured: { label: 'requests', value: unlimited?.requests ?? Number.NaN, unit: '' },
        against: one,
        limit: 0,
      },
    ],
    charts: [
      {
        title: 'Time of a warm call',
        unit: 'ms',
        groups: [{ label: 'p50', bars: [floor, ...results].map(({ target, ms }) => ({ label: target, value: ms })) }],
      },
    ],
    limits: [
      'In AWS, a request to DynamoDB takes a few milliseconds instead of the stand-in’s time: these figures show what Lambent’s own code adds. The two requests are made one after another: before the model’s answer, and after the response.',
    ],
    data: results,
  };
}
