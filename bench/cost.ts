import { BODY_ITEM_BYTES } from '../shared/jobs/dynamodb-blobs.ts';
import { BODY_OVERHEAD_BYTES, computeItemDollars, computeItemLimitKb, computeObjectDollars } from './body-limit.ts';
import { tabulateIdleCost } from './idle-run.ts';
import { computeOperationUnits, type OperationUnits } from './job-units.ts';
import { computeNeeds } from './load-limits.ts';
import { createManagedTable } from './managed-cost.ts';
import {
  DYNAMODB_READS_PER_MILLION,
  DYNAMODB_WRITES_PER_MILLION,
  IDLE_PRICES_LOOKED_UP,
  KMS_PER_MILLION,
  LAMBDA_PER_GB_SECOND,
  LAMBDA_PER_MILLION,
  PRICES_LOOKED_UP,
  SQS_PER_MILLION,
} from './prices.ts';
import { tabulateRecordCost } from './record-cost.ts';
import { formatNumber, type Report, type Table } from './report/report.ts';
import { computeCountHour, computeMillionDue, computeSweepMonths } from './sweep-cost.ts';
import { measureSweepCpu } from './sweep-cpu.ts';
import { type JobCloud, startJobCloud } from './targets/job-cloud.ts';
import {
  BATCH_SIZE,
  createResponseBody,
  createSqsClient,
  mapConcurrently,
  PRODUCERS,
  post,
  sendJobs,
} from './targets/producers.ts';

export interface CostOptions {
  /** Jobs whose requests are counted. */
  readonly jobs: number;
}

/** Requests and units per job, on average. */
interface Usage {
  readonly sqs: number;
  readonly writeUnits: number;
  readonly readUnits: number;
  readonly kms: number;
  readonly invocations: number;
}

interface Target {
  readonly label: string;
  readonly usage: Usage;
}

const FLOOR = 'smallest possible set of requests';
const MESSAGE = 'a program’s message';
const BACKGROUND = 'a background response';
const TIMEOUT_MS = 180_000;

/** The operations of a job with one attempt and without a reply. The local stand-in does not count their index units. */
const JOB_OPERATIONS: ReadonlySet<string> = new Set([
  'creation',
  'ticket sent',
  'claim',
  'begin (first token)',
  'commit',
]);
/** A load whose needs are compared with AWS's limits, with the default settings. */
const LOAD = { rate: 10_000, jobSeconds: 10, places: 4, shards: 4, objectShare: 1 } as const;

/** Seconds of a typical answer and the packaged memory size, which give the cost of waiting for a model. */
const ANSWER_SECONDS = 10;
const GENERATE_GB = 1;

/**
 * Returns the usage of the smallest design that runs jobs at least once and commits them exactly once: a message is
 * sent, received and deleted, ten at a time, and one conditional write stores the answer, with as many units as
 * Lambent’s. Such a job can't be looked up or cancelled while it runs, a crash is detected only when the message is
 * delivered again, and the request is not stored.
 */
function computeFloorUsage(outputUnits: number): Usage {
  return {
    sqs: 3 / BATCH_SIZE,
    writeUnits: outputUnits,
    readUnits: 0,
    kms: 0,
    invocations: 1 / BATCH_SIZE,
  };
}

/** Counts the AWS requests of queued jobs and reports the price of a million jobs. */
export async function benchCost({ jobs }: CostOptions): Promise<Report> {
  const operations = await computeOperationUnits();
  const indexUnits = operations
    .filter(({ operation }) => JOB_OPERATIONS.has(operation))
    .reduce((sum, { index }) => sum + index, 0);
  const sweepCpuMs = await measureSweepCpu();
  const idleTable = await tabulateIdleCost();
  await using jobCloud = await startJobCloud({ tokens: 16, intervalMs: 0 });
  const client = createSqsClient(jobCloud.cloud);
  const sendByMessage = (name: string, count: number) =>
    sendJobs(client, jobCloud.cloud.resources['GENERATION_QUEUE_URL'] ?? '', name, count);
  const sendByApi = async (_name: string, count: number) => {
    const body = createResponseBody({ background: true });
    const made = await mapConcurrently(PRODUCERS, Array.from({ length: count }), () =>
      post(jobCloud.cloud.url, '/responses', body),
    );
    return made.map(({ id }) => id);
  };
  try {
    const runCounted = async (make: typeof sendByMessage): Promise<Counted> => {
      // Warm-up: environments then have cached their tenant's key, as for most of a million jobs.
      await jobCloud.waitForEnds(await make('warm-up', jobs), TIMEOUT_MS);
      jobCloud.reset();
      await jobCloud.waitForEnds(await make('counted', jobs), TIMEOUT_MS);
      return countUsage(jobCloud, jobs, indexUnits);
    };
    const message = await runCounted(sendByMessage);
    const background = await runCounted(sendByApi);
    const recordTable = await tabulateRecordCost(jobCloud);
    return toReport(
      [
        { label: FLOOR, usage: computeFloorUsage(message.outputUnits) },
        // A program sends ten messages per request. A background response also has an invocation of its HTTP function.
        { label: MESSAGE, usage: { ...message.usage, sqs: message.usage.sqs + 1 / BATCH_SIZE } },
        { label: BACKGROUND, usage: { ...background.usage, invocations: background.usage.invocations + 1 } },
      ],
      { jobs, operations, sweepCpuMs, idleTable, recordTable },
    );
  } finally {
    client.destroy();
  }
}

interface Counted {
  readonly usage: Usage;
  /** Write units of one stored answer. */
  readonly outputUnits: number;
}

function countUsage(jobCloud: JobCloud, jobs: number, indexUnits: number): Counted {
  const { DynamoDB, SQS, KMS } = jobCloud.requests();
  const sum = (values: Iterable<{ requests: number }>) => [...values].reduce((all, { requests }) => all + requests, 0);
  const sumUnits = (isRead: boolean) =>
    [...DynamoDB]
      .filter(([operation]) => /^(Get|Query|BatchGet)/.test(operation) === isRead)
      .reduce((all, [, count]) => all + count.units, 0);
  const batches = jobCloud.queueInvocations();
  const puts = DynamoDB.get('PutItem');
  return {
    usage: {
      // The mapping sends one receive and one delete per batch.
      sqs: (sum(SQS.values()) + 2 * batches) / jobs,
      writeUnits: sumUnits(false) / jobs + indexUnits,
      readUnits: sumUnits(true) / jobs,
      kms: sum(KMS.values()) / jobs,
      invocations: batches / jobs,
    },
    // The puts are input, job and output. The job is one unit; input and output have the same size.
    outputUnits: Math.max(1, Math.round(((puts?.units ?? jobs) / jobs - 1) / 2)),
  };
}

/** Returns the price of a million jobs' requests in US dollars, by service. */
function toDollars({ sqs, writeUnits, readUnits, kms, invocations }: Usage) {
  return {
    SQS: sqs * SQS_PER_MILLION,
    DynamoDB: writeUnits * DYNAMODB_WRITES_PER_MILLION + readUnits * DYNAMODB_READS_PER_MILLION,
    KMS: kms * KMS_PER_MILLION,
    'Lambda requests': invocations * LAMBDA_PER_MILLION,
  };
}

const sumDollars = (usage: Usage) => Object.values(toDollars(usage)).reduce((sum, dollars) => sum + dollars, 0);

interface Measured {
  readonly jobs: number;
  readonly operations: readonly OperationUnits[];
  /** CPU milliseconds of the sweep per due job. */
  readonly sweepCpuMs: number;
  readonly idleTable: Table;
  readonly recordTable: Table;
}

function toReport(targets: readonly Target[], measured: Measured): Report {
  const { jobs, operations } = measured;
  const floor = sumDollars(targets[0]?.usage ?? computeFloorUsage(1));
  const formatWaitingCost = (share: number) =>
    formatNumber(ANSWER_SECONDS * GENERATE_GB * share * 1e6 * LAMBDA_PER_GB_SECOND);
  return {
    name: 'cost',
    title: 'Cost: the AWS requests of a million queued jobs',
    method: [
      `${jobs} jobs of each kind run in the local cloud. Their requests are counted between the functions and the stand-ins and multiplied by AWS’s list prices (US East, above the free tier, looked up on ${PRICES_LOOKED_UP}). \`bench/prices.ts\` names the source of each price: AWS’s page, and a page that quotes it, because AWS’s pages fill in prices by script; the prices are second-hand. The stand-in for DynamoDB reports the units that each request consumes, without the index, whose units follow from the engine’s transitions: see the table of operations. Environments are warm and have cached their tenant’s key.`,
      'The smallest set that runs work at least once and commits it exactly once is a message sent, received and deleted, ten at a time, and one conditional write of the answer. It does not store the request, can’t report a job’s status, can’t cancel a job, and detects a crash only when the message is delivered again. The ratio is the price of these features.',
    ],
    tables: [
      {
        caption: 'Requests and units per job',
        columns: ['', 'SQS', 'write units', 'read units', 'KMS', 'invocations'],
        rows: targets.map(({ label, usage }) => [
          label,
          ...[usage.sqs, usage.writeUnits, usage.readUnits, usage.kms, usage.invocations].map(formatNumber),
        ]),
      },
      {
        caption: 'US dollars per million jobs',
        columns: ['', 'SQS', 'DynamoDB', 'KMS', 'Lambda requests', 'total', '× smallest'],
        rows: targets.map(({ label, usage }) => [
          label,
          ...Object.values(toDollars(usage)).map((dollars) => dollars.toFixed(2)),
          sumDollars(usage).toFixed(2),
          formatNumber(sumDollars(usage) / floor),
        ]),
      },
      measured.recordTable,
      toOperationTable(operations),
      measured.idleTable,
      ...toSweepTables(measured),
      toLoadTable(targets),
      toBodyTable(),
      createManagedTable(ANSWER_SECONDS),
    ],
    budgets: [],
    charts: [
      {
        title: 'Requests of a million jobs',
        unit: 'US dollars',
        groups: [{ label: '', bars: targets.map(({ label, usage }) => ({ label, value: sumDollars(usage) })) }],
      },
    ],
    limits: [
      `**Not included: the time that functions wait for models.** With ${ANSWER_SECONDS} s per answer and ${GENERATE_GB} GB, a million jobs cost $${formatWaitingCost(1 / BATCH_SIZE)} of Lambda’s time if ten share an invocation, and $${formatWaitingCost(1)} if each has its own. The cost is the same for any design in which a function waits for the model, and a larger batch saves more than any request saved.`,
      'Also not included: model usage, storage, API Gateway’s requests and the authorizer’s, receives that find the queue empty, KMS requests by SQS and DynamoDB for their own encryption (once every few minutes), logs, their recording in the audit log, which has a table of its own without the time of `record`, and the monthly price of a key. A job that runs longer than 15 s adds a write unit every 15 s and a tenth of a request to SQS every 20 s. Renewals write no index.',
      `The first month of an idle stage is computed from the packaged template with the prices of ${IDLE_PRICES_LOOKED_UP}: the stage \`dev\` with its default settings, without GPU fleets and provisioned concurrency. The custom metrics are those that sweep and warmup published in this run, warm-up calls included; a count of 0 is not published. Each of a key’s first two rotations, after 90 and 180 days, adds a dollar a month: 2 and then 4 dollars for the two keys that encrypt. The audit log’s key is not rotated. Not included: the deployment bucket (a cent) and provider keys in Secrets Manager (0.40 each).`,
      'Managed instances are compared without a discount: on-demand m7g.xlarge, the 15% fee, the request price, half of each environment’s 64 streams used, three environments of each function, at least three instances, and two NAT gateways without their price per gigabyte. The default is compared without provisioned concurrency. That 32 streams fit into an environment of one virtual CPU is assumed, not measured.',
      'The sweep’s rate is the CPU time that was measured here, the lowest of four rounds of 600 jobs, at one virtual CPU (1,769 MB, the default). A CPU of Lambda may be slower than this machine’s. `sweepParts` divides the shards among several sweeps, each with a CPU of its own.',
    ],
    data: targets,
  };
}

function toOperationTable(operations: readonly OperationUnits[]): Table {
  return {
    caption: 'DynamoDB write units per operation on a job’s item',
    columns: ['', 'table', 'index', 'both'],
    rows: operations.map(({ operation, table, index }) => [operation, `${table}`, `${index}`, `${table + index}`]),
  };
}

function toSweepTables({ operations, sweepCpuMs }: Measured): readonly Table[] {
  const move = operations.find(({ operation }) => operation === 'move by the sweep');
  const million = computeMillionDue(sweepCpuMs, (move?.table ?? 0) + (move?.index ?? 0));
  const months = computeSweepMonths();
  const sum = (dollars: Readonly<Record<string, number>>) =>
    Object.values(dollars).reduce((all, each) => all + each, 0);
  return [
    {
      caption: 'A million due jobs get their tickets',
      columns: ['', 'value'],
      rows: [
        ['CPU per job, ms (measured)', formatNumber(sweepCpuMs)],
        ['jobs a second that this CPU allows, while a run works', formatNumber(million.perSecond.cpu)],
        [
          'jobs a second that the index allows, with 1,000 writes a second of each key',
          formatNumber(million.perSecond.index),
        ],
        ['minutes, with runs of 50 s each minute', formatNumber(million.minutes)],
        ...Object.entries(million.dollars).map(([service, dollars]) => [`${service}, US dollars`, dollars.toFixed(2)]),
        ['total, US dollars', sum(million.dollars).toFixed(2)],
        ['counting a million waiting jobs each minute, US dollars an hour', computeCountHour().toFixed(2)],
      ],
    },
    {
      caption: 'US dollars a month of the sweep',
      columns: ['', 'queries', 'DynamoDB', 'Lambda', 'total'],
      rows: Object.entries({ 'no job waits or runs': months.idle, 'a job always waits or runs': months.busy }).map(
        ([label, { queries, DynamoDB, Lambda }]) => [
          label,
          formatNumber(queries),
          DynamoDB.toFixed(2),
          Lambda.toFixed(2),
          (DynamoDB + Lambda).toFixed(2),
        ],
      ),
    },
  ];
}

function toLoadTable(targets: readonly Target[]): Table {
  const message = targets.find(({ label }) => label === MESSAGE);
  const writeUnits = message?.usage.writeUnits ?? 0;
  const perHour = (LOAD.rate * 3_600 * sumDollars(message?.usage ?? computeFloorUsage(1))) / 1e6;
  const waiting = LOAD.rate * 3_600 * (LOAD.jobSeconds / LOAD.places) * GENERATE_GB * LAMBDA_PER_GB_SECOND;
  return {
    caption: `${formatNumber(LOAD.rate)} jobs a second of ${LOAD.jobSeconds} s each, with the default settings (${LOAD.places} jobs per invocation, ${LOAD.shards} shards, all bodies objects)`,
    columns: ['', 'needed', 'limit', 'breaks at jobs a second', 'remedy'],
    rows: [
      ...computeNeeds({ ...LOAD, writeUnits }).map(({ what, needed, limit, breaksAt, remedy }) => [
        what,
        ...[needed, limit, breaksAt].map(formatNumber),
        remedy,
      ]),
      ['requests, US dollars an hour', formatNumber(perHour), '', '', ''],
      ['Lambda’s time, US dollars an hour', formatNumber(waiting), '', '', 'more places'],
    ],
  };
}

function toBodyTable(): Table {
  const dollars = (value: number) => value.toFixed(2);
  const limit = computeItemLimitKb(1);
  return {
    caption: `A million bodies, written once: US dollars as items and as objects. Bodies up to ${BODY_ITEM_BYTES} bytes are items, which have ${BODY_OVERHEAD_BYTES} bytes besides`,
    columns: ['', 'item, read once', 'object, read once', 'item, read twice', 'object, read twice'],
    rows: [1, limit, limit + 1, 100].map((kilobytes) => [
      `${kilobytes} KB`,
      ...[1, 2].flatMap((reads) => [computeItemDollars(kilobytes, reads), computeObjectDollars(reads)]).map(dollars),
    ]),
  };
}
