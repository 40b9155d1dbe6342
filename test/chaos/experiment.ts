import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { SetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { createSeededRandom } from '../../local/faults/random.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { readDeadLetters } from './dead-letters.ts';
import { startFaultInjection } from './fault-injection.ts';
import { checkConversations, checkResponses, readTable, type TableState } from './final-state.ts';
import { type Findings, judgeEvidence } from './findings.ts';
import { startGpuSide } from './gpu/gpu-side.ts';
import { findMissingPoison } from './kind-findings.ts';
import { createLedger, type Ledger } from './ledger.ts';
import { putOversizeBody, TENANT } from './messages.ts';
import type { ChaosOptions } from './options.ts';
import { type Produced, startProducers } from './producers.ts';
import { createHostedQuestions } from './questions.ts';
import { REPLY_QUEUES, readReplies } from './replies.ts';
import { startChaosUpstream } from './upstream.ts';

/** Milliseconds between two runs of the sweep. In AWS it runs each minute. */
const SWEEP_MS = 1_000;
/**
 * Visibility timeout of the queues, divided by `divisor` like every interval. In AWS it is the function's timeout: a
 * message returns after that time if its receiver died before it set a shorter one.
 */
const VISIBILITY_SECONDS = 60;
/** How long a long answer takes: two renewals of a lease. Divided by `divisor`. */
const LONG_ANSWER_MS = 30_000;
/** By how much a store is slow in a brownout. Divided by `divisor`. */
const SLOW_MS = 5_000;
/** The share of messages that others overtake. */
const OVERTAKEN = 0.2;
/** The local runner's log line of an invocation that it refuses. */
const STOPPED_CHAIN = 'Lambda stopped a recursive loop';
/** The longest time between two actions on a waiting job in AWS, and the extra time that a busy machine may need. */
const LONGEST_PAUSE_MS = 900_000;
const MARGIN_MS = 60_000;

/** Runs the local cloud under load and faults, and returns the findings about all jobs. */
export async function runChaos(options: ChaosOptions): Promise<Findings> {
  const open = new AsyncDisposableStack();
  try {
    return await runExperiment(options, open);
  } finally {
    await open.disposeAsync();
  }
}

async function runExperiment(options: ChaosOptions, open: AsyncDisposableStack): Promise<Findings> {
  const random = createSeededRandom(options.seed);
  const run = `chaos-${options.seed}`;
  const folder = open.adopt(await mkdtemp(join(tmpdir(), 'lambent-chaos-')), (path) => rm(path, { recursive: true }));
  const hostedQuestions = createHostedQuestions(options.killEverySeconds > 0);
  let crash: (job: number) => void = () => {};
  const upstream = open.adopt(
    await startChaosUpstream({
      workers: options.window,
      random: createSeededRandom(options.seed + 100),
      longMs: LONG_ANSWER_MS / options.divisor,
      isCrashing: (job) => hostedQuestions.kind(job) === 'crashing',
      crash: (job) => crash(job),
    }),
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
  let stoppedChains = 0;
  const ledger = createLedger(() => table);
  const cloud = open.adopt(
    await startCloud({
      stateDir: join(folder, 'state'),
      bedrock: async function* silent() {},
      environment: {
        MODELS_FILE: models,
        REPLY_QUEUES,
        LOG_LEVEL: 'error',
        TIMINGS_DIVISOR: String(options.divisor),
        ...gpu?.environment,
      },
      schedules: false,
      concurrency: options.concurrency,
      managedFunctions: options.mode === 'managed' ? 'all' : [],
      overtaken: OVERTAKEN,
      faults: { seed: options.seed, slowMs: SLOW_MS / options.divisor, onExchange: ledger.observe },
      onLog({ text: line }) {
        if (line.startsWith(STOPPED_CHAIN)) stoppedChains += 1;
      },
    }),
    (each) => each.close(),
  );
  table = cloud.resources['JOBS_TABLE'];
  const replies = open.adopt(readReplies(cloud), (each) => each.close());
  const prepareQueues = async () => {
    await Promise.all([replies.create(), shortenVisibility(cloud, Math.ceil(VISIBILITY_SECONDS / options.divisor))]);
  };
  await Promise.all([prepareQueues(), putOversizeBody(cloud)]);
  const deadLetters = open.adopt(readDeadLetters(cloud), (each) => each.close());
  const sweeping = startSweeping(cloud);
  open.defer(() => sweeping.end());

  // After this long without a write to any job, no more will follow.
  const quietMs = MARGIN_MS + LONGEST_PAUSE_MS / options.divisor;
  const isQuiet = () => Date.now() - ledger.lastSeenAt() >= quietMs;
  const giveUp = new AbortController();
  const stopStarting = new AbortController();
  if (options.minutes !== undefined) setTimeout(() => stopStarting.abort(), options.minutes * 60_000).unref();
  const startedAt = Date.now();
  const injection = startFaultInjection(
    { cloud, upstream, onKill: ledger.noteKill, onRestart: prepareQueues, lastSeenAt: ledger.lastSeenAt },
    { ...options, random },
  );
  crash = (job) => injection.killInvocation(ledger.entries.get(deriveResponseId(TENANT, `${run}-${job}`))?.holder);
  const gpuRun = gpu?.start(cloud, ledger);
  open.defer(() => gpuRun?.close());
  const questions = gpu?.questions ?? hostedQuestions;
  const { produced, done } = startProducers({
    ...options,
    cloud,
    ledger,
    questions,
    run,
    restarts: () => injection.restarts,
    stopStarting: stopStarting.signal,
    giveUp: giveUp.signal,
    replyTo: replies.alias,
  });
  const reporting = startReporting(options, produced, ledger, startedAt);
  open.defer(() => reporting.end());
  const accepting = waitUntilAccepted(options.jobs, stopStarting.signal, produced, isQuiet);
  await Promise.race([accepting, waitMinutes(options.faultMinutes)]);
  await injection.stop();
  await gpuRun?.stopFaults();
  await accepting;
  await Promise.race([done, waitUntilQuiet(isQuiet)]);
  stopStarting.abort();
  giveUp.abort();
  await done;
  // No producer waits for the jobs whose caller got no response. They end as all others do.
  while (ledger.openCount() > 0 && !isQuiet()) await sleep(100);
  const seconds = (Date.now() - startedAt) / 1000;
  await waitForReplies(ledger, produced, replies.received);
  await waitForDeadLetters(() => findMissingPoison(produced, deadLetters.bodies, injection.restarts), isQuiet);
  const gpuEvidence = await gpuRun?.collectEvidence();
  const isCompleted = (id: string) => ledger.entries.get(id)?.end?.status === 'completed';

  return judgeEvidence({
    options,
    seconds,
    produced,
    ledger,
    injected: injection,
    upstream,
    replies,
    faults: cloud.faults?.counts(),
    table: await readSettledTable(cloud, table, isQuiet),
    responses: await checkResponses(cloud, produced.accepted, questions, createSeededRandom(options.seed + 200)),
    kinds: {
      questions,
      turns: await checkConversations(cloud, produced, questions, isCompleted),
      deadLetters: deadLetters.bodies,
      restarts: injection.restarts,
    },
    stoppedChains,
    gpu: gpuEvidence,
  });
}

/** Reads the table when all completion steps are done, or no job has changed for a long time. */
async function readSettledTable(cloud: Cloud, name: string | undefined, isQuiet: () => boolean): Promise<TableState> {
  while (true) {
    const table = await readTable(cloud, name);
    if (table.incompleteSteps === 0 || isQuiet()) return table;
    await sleep(1_000);
  }
}

/** Waits until every job has been accepted, or no job has changed for a long time (`isQuiet`). */
async function waitUntilAccepted(
  jobs: number,
  stopStarting: AbortSignal,
  produced: Produced,
  isQuiet: () => boolean,
): Promise<void> {
  const target = () => (stopStarting.aborted ? produced.started : jobs);
  while (produced.accepted.size + produced.poison.size < target() && !isQuiet()) await sleep(100);
}

/** Waits forever if no number is given. */
async function waitMinutes(minutes: number | undefined): Promise<void> {
  if (minutes === undefined) return new Promise(() => {});
  await sleep(minutes * 60_000, undefined, { ref: false });
}

async function waitUntilQuiet(isQuiet: () => boolean): Promise<void> {
  while (!isQuiet()) await sleep(500, undefined, { ref: false });
}

/** Waits a few seconds for late replies. Those that were on the queue during a restart never arrive. */
async function waitForReplies(ledger: Ledger, produced: Produced, received: () => number): Promise<void> {
  const until = Date.now() + 5_000;
  while (received() < Math.min(produced.queue, ledger.endedCount()) && Date.now() < until) await sleep(100);
}

async function waitForDeadLetters(findMissing: () => readonly string[], isQuiet: () => boolean): Promise<void> {
  while (findMissing().length > 0 && !isQuiet()) await sleep(100);
}

async function shortenVisibility(cloud: Cloud, seconds: number): Promise<void> {
  const { credentials, endpoints } = cloud;
  const endpoint = endpoints['AWS_ENDPOINT_URL_SQS'] ?? '';
  const client = new SQSClient({ region: 'eu-west-1', endpoint, credentials, maxAttempts: 20 });
  for (const queue of ['GENERATION_QUEUE_URL', 'JOBS_QUEUE_URL', 'GPU_QUEUE_URL']) {
    await client.send(
      new SetQueueAttributesCommand({
        QueueUrl: cloud.resources[queue],
        Attributes: { VisibilityTimeout: String(seconds) },
      }),
    );
  }
  client.destroy();
}

/** Runs the sweep repeatedly, as its schedule does. A run that is in progress at the end is left to end with the cloud. */
function startSweeping(cloud: Cloud): { end(): void } {
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
  void sweep().catch(() => {});
  return { end: () => ended.abort() };
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
