import { WRITES_PER_KEY } from './load-limits.ts';
import {
  DYNAMODB_READS_PER_MILLION,
  DYNAMODB_WRITES_PER_MILLION,
  LAMBDA_PER_GB_SECOND,
  LAMBDA_PER_MILLION,
  SQS_PER_MILLION,
} from './prices.ts';

const MILLION = 1_000_000;
/** Entries of one page of the index, which one batch read takes. */
const PAGE = 100;
/** Bytes of an index entry: two keys of the table and two of the index, with their names, and 100 bytes that DynamoDB adds. */
const ENTRY_BYTES = 250;
/** The sweep's defaults: `sweepMemoryMb`, `jobShards`. One virtual CPU has 1,769 MB. */
const MEMORY_MB = 1_769;
const CPU_MB = 1_769;
const SHARDS = 4;
/** Writes of an index key for a job: its move removes an entry and puts another; the record of the ticket removes one. */
const JOB_WRITES = 3;
/** Seconds of each minute in which a run works. */
const RUN_SECONDS = 50;
const MINUTES_PER_MONTH = 30 * 24 * 60;
/**
 * An idle run makes 72 queries in two rounds, each at once. A round takes up to 10 ms at DynamoDB, a query less than a
 * millisecond of CPU; the rest is a margin.
 */
export const IDLE_RUN_SECONDS = 0.2;
const PASSES_PER_RUN = 4;

/** Read units of a strongly consistent read of an item, and of an eventually consistent query of so many bytes. */
const ITEM_READ = 1;
const queryUnits = (bytes: number) => Math.max(1, Math.ceil(bytes / 4096)) / 2;

/** Returns what it takes to send a ticket for each of a million due jobs. */
export function computeMillionDue(cpuMs: number, moveUnits: number) {
  const writeUnits = 2 * moveUnits;
  const readUnits = ITEM_READ + queryUnits(PAGE * ENTRY_BYTES) / PAGE;
  const sqs = 1 / 10;
  const perSecond = {
    cpu: (1_000 / cpuMs) * (MEMORY_MB / CPU_MB),
    index: (WRITES_PER_KEY * SHARDS) / JOB_WRITES,
  };
  const seconds = MILLION / Math.min(perSecond.cpu, perSecond.index);
  return {
    /** Jobs a second that the sweep's CPU allows, and the index. */
    perSecond,
    minutes: seconds / RUN_SECONDS,
    dollars: {
      DynamoDB: writeUnits * DYNAMODB_WRITES_PER_MILLION + readUnits * DYNAMODB_READS_PER_MILLION,
      SQS: sqs * SQS_PER_MILLION,
      Lambda: seconds * (MEMORY_MB / 1024) * LAMBDA_PER_GB_SECOND,
    },
  };
}

/** Queries of one pass over all purposes, and of the counts of a run. The previous version's 16 partitions are read, too. */
const passQueries = (shards: number) => (3 * 2 + 2) * shards + 16;
const countQueries = (shards: number) => 3 * 2 * shards;

/** Returns the dollars a month of the sweep while no job waits or runs, and while one always does. */
export function computeSweepMonths() {
  const month = (passes: number, runSeconds: number) => {
    const queries = (passes * passQueries(SHARDS) + countQueries(SHARDS)) * MINUTES_PER_MONTH;
    return {
      queries,
      DynamoDB: (queries / MILLION) * queryUnits(0) * DYNAMODB_READS_PER_MILLION,
      Lambda:
        MINUTES_PER_MONTH * (runSeconds * (MEMORY_MB / 1024) * LAMBDA_PER_GB_SECOND + LAMBDA_PER_MILLION / MILLION),
    };
  };
  return { idle: month(1, IDLE_RUN_SECONDS), busy: month(PASSES_PER_RUN, RUN_SECONDS) };
}

/** Returns the dollars of counting a million waiting jobs each minute, for an hour. */
export function computeCountHour(): number {
  return (60 * queryUnits(MILLION * ENTRY_BYTES) * DYNAMODB_READS_PER_MILLION) / MILLION;
}
