/**
 * What a rate of jobs needs of AWS, compared with AWS's quotas and limits as they are documented (November 2026). The quotas
 * marked as adjustable are defaults.
 */
export interface Need {
  readonly what: string;
  readonly needed: number;
  readonly limit: number;
  /** The highest rate of jobs a second at which the limit holds. */
  readonly breaksAt: number;
  readonly remedy: string;
}

export interface Load {
  /** Jobs a second. */
  readonly rate: number;
  /** Seconds from a job's claim to its end. */
  readonly jobSeconds: number;
  /** Jobs in hand in an invocation. */
  readonly places: number;
  /** Write units of a job, index included. */
  readonly writeUnits: number;
  /** Shards of each index partition. */
  readonly shards: number;
  /** Share of the jobs whose bodies are objects. */
  readonly objectShare: number;
}

/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html, "In-flight messages per queue" */
const SQS_IN_FLIGHT = 120_000;
/** https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, adjustable */
const LAMBDA_CONCURRENCY = 1_000;
/** https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html, without provisioned pollers */
const MAPPING_CONCURRENCY = 1_250;
/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html */
export const WRITES_PER_KEY = 1_000;
/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html, on demand, adjustable */
const WRITES_PER_TABLE = 40_000;
/** https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html, symmetric, where it is lowest, adjustable */
const KMS_PER_SECOND = 10_000;
/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html */
const S3_PUTS_PER_PREFIX = 3_500;

/** An entry is put into a partition and removed from it. */
const WRITES_PER_ENTRY = 2;
/** An environment reads a tenant's key again after five minutes. */
const KEY_SECONDS = 300;
/** An input and an output. */
const BODIES = 2;

/** Returns the needs of a load. All grow with the rate alone. */
export function computeNeeds({ rate, jobSeconds, places, writeUnits, shards, objectShare }: Load): readonly Need[] {
  const inFlight = rate * jobSeconds;
  const invocations = inFlight / places;
  const need = (what: string, needed: number, limit: number, remedy: string): Need => ({
    ...{ what, needed, limit, remedy },
    breaksAt: (rate * limit) / needed,
  });
  return [
    need('messages in flight on the jobs queue', inFlight, SQS_IN_FLIGHT, 'more stages, each with its queue'),
    need('concurrent invocations of generate', invocations, LAMBDA_CONCURRENCY, 'a higher quota'),
    need('concurrent invocations of its mapping', invocations, MAPPING_CONCURRENCY, 'more places, or more stages'),
    need('write units a second of the jobs table', rate * writeUnits, WRITES_PER_TABLE, 'a higher quota'),
    need('writes a second of an index key', (rate * WRITES_PER_ENTRY) / shards, WRITES_PER_KEY, 'jobShards'),
    need('requests a second to KMS, one tenant', invocations / KEY_SECONDS, KMS_PER_SECOND, 'none needed'),
    need(
      'S3 puts a second in a tenant’s prefix',
      rate * BODIES * objectShare,
      S3_PUTS_PER_PREFIX,
      'S3 splits it by itself',
    ),
  ];
}
