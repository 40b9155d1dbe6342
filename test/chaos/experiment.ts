import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { SetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { seededRandom } from '../../local/faults/random.ts';
import { startGpuSide } from './gpu/side.ts';
import { createLedger, type Ledger } from './ledger.ts';
import type { ChaosOptions } from './options.ts';
import { type Produced, startProducers } from './producers.ts';
import { HOSTED_QUESTIONS } from './questions.ts';
import { REPLY_QUEUES, readReplies } from './replies.ts';
import { type Findings, judge } from './report.ts';
import { checkShown, readTable } from './state.ts';
import { startTorment } from './torment.ts';
import { startChaosUpstream } from './upstream.ts';

/** Milliseconds between two runs of `sweep`, which AWS does each minute. */
const SWEEP_MS = 1_000;
/**
 * In AWS a queue's own visibility is as long as its function may run, and a message whose receiver died before it could
 * say less comes back after that. Here it comes back as soon as all others: in a minute, hurried.
 */
const VISIBILITY_SECONDS = 60;
/** The longest that the service leaves a waiting job alone, in AWS; and what a busy machine may take on top. */
const LONGEST_PAUSE_MS = 900_000;
const PATIENCE_MS = 60_000;

/** Runs the local cloud under load and accidents, and finds out what became of every job. */
export async function runChaos(options: ChaosOptions): Promise<Findings> {
  const open = new AsyncDisposableStack();
  try {
    return await experiment(options, open);
  } finally {
    await open.disposeAsync();
  }
}

async function experiment(options: ChaosOptions, open: AsyncDisposableStack): Promise<Findings> {
  const random = seededRandom(options.seed);
  const folder = open.adopt(await mkdtemp(join(tmpdir(), 'lambent-chaos-')), (path) => rm(path, { recursive: true }));
  const upstream = open.adopt(
    await startChaosUpstream({ workers: options.window, random: seededRandom(options.seed + 100) }),
    (each) => each.close(),
  );
  const gpu =
    options.gpu && open.adopt(await startGpuSide({ ...options.gpu, ...options }, folder), (each) => each.close());
  const models = join(folder, 'models.json');
  const target = { provider: 'openai-compatible', model: 'chaos', baseUrl: upstream.baseUrl };
  await writeFile(
    models,
    JSON.stringify({ models: { default: { targets: [target] }, ...gpu?.models }, fleets: gpu?.fleets ?? {} }),
  );

  let table: string | undefined;
  const ledger = createLedger(() => table);
  const cloud = open.adopt(
    await startCloud({
      stateDir: join(folder, 'state'),
      bedrock: async function* silent() {},
      environment: {
        MODELS_FILE: models,
        REPLY_QUEUES,
        LOG_LEVEL: 'error',
        TIMINGS_DIVISOR: String(options.hurry),
        ...gpu?.environment,
      },
      schedules: false,
      concurrency: options.concurrency,
      managedFunctions: options.mode === 'managed' ? 'all' : [],
      faults: { seed: options.seed, onCarriedOut: ledger.see },
    }),
    (each) => each.close(),
  );
  table = cloud.resources['JOBS_TABLE'];
  const replies = open.adopt(readReplies(cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? ''), (each) => each.close());
  const prepareQueues = async () => {
    await Promise.all([replies.create(), shortenVisibility(cloud, Math.ceil(VISIBILITY_SECONDS / options.hurry))]);
  };
  await prepareQueues();
  const sweeping = startSweeping(cloud);
  open.defer(() => sweeping.end());

  // Nothing happens to any job for this long: nothing will any more.
  const quietMs = PATIENCE_MS + LONGEST_PAUSE_MS / options.hurry;
  const isQuiet = () => Date.now() - ledger.lastSeenAt() >= quietMs;
  const givenUp = new AbortController();
  const enough = new AbortController();
  if (options.minutes !== undefined) setTimeout(() => enough.abort(), options.minutes * 60_000).unref();
  const startedAt = Date.now();
  const torment = startTorment(
    { cloud, upstream, onKill: ledger.killed, onRestart: prepareQueues },
    { ...options, random },
  );
  const gpuRun = gpu?.begin(cloud, ledger);
  open.defer(() => gpuRun?.close());
  const questions = gpu?.questions ?? HOSTED_QUESTIONS;
  const { produced, done } = startProducers({
    ...options,
    cloud,
    ledger,
    questions,
    run: `chaos-${options.seed}`,
    restarts: () => torment.restarts,
    enough: enough.signal,
    givenUp: givenUp.signal,
    replyTo: replies.alias,
  });
  const reporting = startReporting(options, produced, ledger, startedAt);
  open.defer(() => reporting.end());
  await allAccepted(options.jobs, enough.signal, produced, isQuiet);
  await torment.end();
  await gpuRun?.calm();
  await Promise.race([done, quiet(isQuiet)]);
  enough.abort();
  givenUp.abort();
  await done;
  // Jobs of which their caller never heard are nobody's to wait for, and end as all others do.
  while (ledger.openCount() > 0 && !isQuiet()) await sleep(100);
  const seconds = (Date.now() - startedAt) / 1000;
  await allTold(ledger, produced, replies.received);
  const gpuEvidence = await gpuRun?.evidence();

  return judge({
    options,
    seconds,
    produced,
    ledger,
    torments: torment,
    upstream,
    replies,
    faults: cloud.faults?.counts(),
    table: await readTable(cloud, table),
    shown: await checkShown(cloud, produced.accepted, questions, seededRandom(options.seed + 200)),
    gpu: gpuEvidence,
  });
}

/** Resolves when every job that was to be begun has been accepted, or nothing happens any more. */
async function allAccepted(
  jobs: number,
  enough: AbortSignal,
  produced: Produced,
  isQuiet: () => boolean,
): Promise<void> {
  const wanted = () => (enough.aborted ? produced.begun : jobs);
  while (produced.accepted.size < wanted() && !isQuiet()) await sleep(100);
}

async function quiet(isQuiet: () => boolean): Promise<void> {
  while (!isQuiet()) await sleep(500, undefined, { ref: false });
}

/** Gives late answers a few seconds. Those that were in the queue when it was emptied never come. */
async function allTold(ledger: Ledger, produced: Produced, received: () => number): Promise<void> {
  const until = Date.now() + 5_000;
  while (received() < Math.min(produced.queue, ledger.endedCount()) && Date.now() < until) await sleep(100);
}

async function shortenVisibility(cloud: Cloud, seconds: number): Promise<void> {
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const endpoint = cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '';
  const client = new SQSClient({ region: 'eu-west-1', endpoint, credentials, maxAttempts: 20 });
  for (const queue of ['GENERATION_QUEUE_URL', 'GPU_QUEUE_URL']) {
    await client.send(
      new SetQueueAttributesCommand({
        QueueUrl: cloud.resources[queue],
        Attributes: { VisibilityTimeout: String(seconds) },
      }),
    );
  }
  client.destroy();
}

/** Runs `sweep` again and again, as its schedule does. A run that fails is followed by another. */
function startSweeping(cloud: Cloud): { end(): Promise<void> } {
  const ended = new AbortController();
  async function sweep(): Promise<void> {
    while (!ended.signal.aborted) {
      await cloud.invoke('sweep', '{}').then(
        async ({ body }) => void (await text(body)),
        () => undefined,
      );
      await sleep(SWEEP_MS, undefined, { signal: ended.signal }).catch(() => {});
    }
  }
  const running = sweep().catch(() => {});
  return {
    end() {
      ended.abort();
      return running;
    },
  };
}

function startReporting(
  { jobs, onProgress }: ChaosOptions,
  produced: Produced,
  ledger: Ledger,
  startedAt: number,
): { end(): void } {
  if (onProgress === undefined) return { end: () => {} };
  const timer = setInterval(() => {
    const seconds = (Date.now() - startedAt) / 1000;
    const ended = ledger.endedCount();
    onProgress(
      `${seconds.toFixed(0)} s: ${produced.accepted.size} of ${jobs} accepted, ${ended} ended (${(ended / seconds).toFixed(1)}/s)`,
    );
  }, 10_000);
  return { end: () => clearInterval(timer) };
}
