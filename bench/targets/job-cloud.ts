import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import type { AccessKeys } from '../../local/access/access-keys.ts';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import type { LogLine } from '../../local/lambda/environment.ts';
import type { ManagedFunctions } from '../../local/lambda/function.ts';
import { startServer } from '../processes.ts';
import { writeHostedModels } from './functions.ts';
import { type Count, type RequestCounter, startRequestCounter } from './request-counter.ts';
import type { Pace } from './targets.ts';

/** AWS services that functions call for jobs and conversations. */
export const SERVICES = ['DynamoDB', 'SQS', 'KMS', 'S3'] as const;
export type Service = (typeof SERVICES)[number];
export type Requests = Readonly<Record<Service, ReadonlyMap<string, Count>>>;

/** A job whose end a function has logged. */
export interface JobEnd {
  readonly status: string;
  /** `performance.now()` when the log line arrived. */
  readonly at: number;
}

/** The whole local cloud, with request counters between its functions and the stand-ins for AWS. */
export interface JobCloud extends AsyncDisposable {
  readonly cloud: Cloud;
  /** Jobs that ended, by id. */
  readonly ended: ReadonlyMap<string, JobEnd>;
  /** Jobs whose end was logged more than once. */
  readonly endedTwice: ReadonlySet<string>;
  /** Returns the functions' requests since `reset`; empty if requests are not counted. */
  requests(): Requests;
  /** Returns the number of invocations by queues since `reset`: one for each batch that an event source mapping delivered. */
  queueInvocations(): number;
  reset(): void;
  /**
   * Waits until all these jobs have ended.
   * @returns `performance.now()` of the last end
   * @throws Error with the number of unfinished jobs after `timeoutMs`
   */
  waitForEnds(ids: Iterable<string>, timeoutMs: number): Promise<number>;
}

/** Interval of progress reports: on a busy machine functions pause jobs and retry later, so a wait can be long. */
const REPORT_EVERY_MS = 15_000;

export interface JobCloudOptions {
  /** True to count requests, which sends each through a proxy. Absent: true. */
  readonly counted?: boolean;
  /** Functions of which one process serves many requests. Absent: none. */
  readonly managed?: ManagedFunctions;
  /** Called for each log line of the functions. */
  readonly onLog?: (line: LogLine) => void;
}

/** Starts the cloud, with the bundles that are packaged for AWS, in front of an upstream of this pace. */
export async function startJobCloud(
  { tokens, intervalMs }: Pace,
  { counted = true, managed = [], onLog = () => {} }: JobCloudOptions = {},
): Promise<JobCloud> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const upstream = started.use(
    await startServer(join(import.meta.dirname, 'upstream.ts'), [`${tokens}`, `${intervalMs}`]),
  );
  const models = await writeHostedModels(folder, upstream.url);
  const bundlesDir = join(folder, 'bundles');
  await bundleFunctions({ outDir: bundlesDir, models });
  const accessKeys: AccessKeys = new Map();
  const counters = {
    DynamoDB: started.use(await startRequestCounter('dynamodb', accessKeys)),
    SQS: started.use(await startRequestCounter('sqs')),
    KMS: started.use(await startRequestCounter('kms')),
    S3: started.use(await startRequestCounter('s3')),
  };
  const watched = new JobLogReader();
  const cloud = started.adopt(
    await startCloud({
      logSubscriptions: false,
      stateDir: join(folder, 'state'),
      bundlesDir,
      bedrock: async function* silent() {},
      managedFunctions: managed,
      environment: { MODELS_FILE: models, ...(counted ? toEndpointVariables(counters) : {}) },
      onLog(line) {
        watched.read(line);
        onLog(line);
      },
    }),
    (each) => each.close(),
  );
  accessKeys.set(cloud.credentials.accessKeyId, cloud.credentials);
  for (const service of SERVICES) counters[service].target = cloud.endpoints[toEndpointVariable(service)] ?? '';
  const running = started.move();
  return {
    cloud,
    ended: watched.ended,
    endedTwice: watched.twice,
    requests: () => ({
      DynamoDB: counters.DynamoDB.counts(),
      SQS: counters.SQS.counts(),
      KMS: counters.KMS.counts(),
      S3: counters.S3.counts(),
    }),
    queueInvocations: () => watched.queueInvocations,
    reset() {
      for (const service of SERVICES) counters[service].reset();
      watched.queueInvocations = 0;
    },
    async waitForEnds(ids, timeoutMs) {
      const wanted = [...new Set(ids)];
      const startedAt = performance.now();
      let reportAt = startedAt + REPORT_EVERY_MS;
      for (;;) {
        const missing = wanted.filter((id) => !watched.ended.has(id)).length;
        if (missing === 0) break;
        const now = performance.now();
        if (now > startedAt + timeoutMs) throw new Error(`${missing} of ${wanted.length} jobs did not end`);
        if (now > reportAt) {
          console.error(
            `${missing} of ${wanted.length} jobs have not ended after ${Math.round((now - startedAt) / 1000)} s`,
          );
          reportAt = now + REPORT_EVERY_MS;
        }
        await setTimeout(20);
      }
      return Math.max(0, ...wanted.map((id) => watched.ended.get(id)?.at ?? 0));
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

const toEndpointVariable = (service: Service) => `AWS_ENDPOINT_URL_${service.toUpperCase()}`;

function toEndpointVariables(counters: Readonly<Record<Service, RequestCounter>>): Record<string, string> {
  return Object.fromEntries(SERVICES.map((service) => [toEndpointVariable(service), counters[service].url]));
}

/** Functions behind queues. */
const QUEUE_FUNCTIONS: ReadonlySet<string> = new Set(['intake', 'generate', 'dispatch']);

/** Collects the ends of jobs and counts invocations from the functions' log lines, which adds no work to the functions. */
export class JobLogReader {
  readonly ended = new Map<string, JobEnd>();
  readonly twice = new Set<string>();
  queueInvocations = 0;

  read({ text, function: name }: Pick<LogLine, 'text' | 'function'>): void {
    if (text.includes('"outcome":"ended"')) {
      const { jobId, status }: { jobId?: string; status?: string } = JSON.parse(text);
      if (jobId === undefined || status === undefined) return;
      if (this.ended.has(jobId)) this.twice.add(jobId);
      else this.ended.set(jobId, { status, at: performance.now() });
    } else if (QUEUE_FUNCTIONS.has(name) && text.includes('"LatencyMs"')) {
      this.queueInvocations += 1;
    }
  }
}
