import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import {
  DYNAMODB_READS_PER_MILLION,
  DYNAMODB_WRITES_PER_MILLION,
  KMS_SIGNATURES_PER_MILLION,
  LAMBDA_PER_MILLION,
  S3_PUTS_PER_MILLION,
} from './prices.ts';
import { formatNumber, type Table } from './report/report.ts';
import type { JobCloud, Requests } from './targets/job-cloud.ts';

/** Log lines in a batch: CloudWatch sends few of a quiet stage, and many of a busy one. */
const BATCH_LINES = [1, 10, 100] as const;

/** What the function `record` requests for a batch of log lines. */
interface RecordedBatch {
  readonly lines: number;
  readonly signatures: number;
  readonly puts: number;
  readonly writeUnits: number;
  readonly readUnits: number;
}

/**
 * Counts the requests by which the function `record` adds batches of log lines to the audit log and to the usage, and returns them
 * as a table.
 * @throws Error if the function fails
 */
export async function tabulateRecordCost(jobCloud: JobCloud): Promise<Table> {
  // The first batch of an environment reads the policies of projects, which it then keeps for a while.
  await record(jobCloud, 1);
  const batches: RecordedBatch[] = [];
  for (const lines of BATCH_LINES) {
    jobCloud.reset();
    await record(jobCloud, lines);
    batches.push({ lines, ...countRequests(jobCloud.requests()) });
  }
  return {
    caption:
      'Log lines of calls are recorded in the audit log, by the lines of a batch. A batch has calls of one key and model here; each further key or model adds write units',
    columns: ['lines', 'signatures', 'S3 puts', 'write units', 'read units', 'US dollars per million lines'],
    rows: batches.map((batch) => [
      ...[batch.lines, batch.signatures, batch.puts, batch.writeUnits, batch.readUnits].map(formatNumber),
      computeDollars(batch).toFixed(2),
    ]),
  };
}

/** Invokes the function with a batch of so many lines, all of one minute, so that they add to the same sums. */
async function record({ cloud }: JobCloud, lines: number): Promise<void> {
  const now = new Date();
  const data = {
    messageType: 'DATA_MESSAGE',
    logGroup: '/aws/lambda/lambent-local-chat',
    logStream: 'bench',
    logEvents: Array.from({ length: lines }, () => createLogEvent(now)),
  };
  const event = { awslogs: { data: gzipSync(JSON.stringify(data)).toString('base64') } };
  const { body, failure } = await cloud.invoke('lambent-local-record', Buffer.from(JSON.stringify(event)));
  for await (const _ of body);
  const failed = failure();
  if (failed !== undefined) throw new Error(`The function record failed: ${JSON.stringify(failed)}`);
}

function createLogEvent(now: Date): object {
  const call = {
    ...{ time: now.toISOString(), record: 'call', requestId: randomUUID(), tenant: 'local', keyId: 'local' },
    ...{ network: '192.0.2.0/24', route: 'POST /v1/chat/completions', status: 200 },
    ...{ model: 'bench', inputTokens: 100, outputTokens: 100 },
  };
  return { id: randomUUID(), timestamp: now.getTime(), message: JSON.stringify(call) };
}

function countRequests({ DynamoDB, KMS, S3 }: Requests): Omit<RecordedBatch, 'lines'> {
  const sumUnits = (isRead: boolean) =>
    [...DynamoDB]
      .filter(([operation]) => /^(Get|Query|BatchGet)/.test(operation) === isRead)
      .reduce((sum, [, { units }]) => sum + units, 0);
  const sumRequests = (counts: Requests[keyof Requests]) =>
    [...counts.values()].reduce((sum, { requests }) => sum + requests, 0);
  return {
    signatures: sumRequests(KMS),
    puts: sumRequests(S3),
    writeUnits: sumUnits(false),
    readUnits: sumUnits(true),
  };
}

function computeDollars({ lines, signatures, puts, writeUnits, readUnits }: RecordedBatch): number {
  const perMillion =
    signatures * KMS_SIGNATURES_PER_MILLION +
    puts * S3_PUTS_PER_MILLION +
    writeUnits * DYNAMODB_WRITES_PER_MILLION +
    readUnits * DYNAMODB_READS_PER_MILLION +
    LAMBDA_PER_MILLION;
  return perMillion / lines;
}
