import type { BatchResponse } from '../../../shared/lambda/queue-pipeline.ts';
import type { VirtualTime } from '../virtual-time.ts';
import { EnvironmentModel } from './environment-model.ts';
import type { ReceivedMessage, SqsModel } from './sqs-model.ts';

export interface Invocation {
  /** Returns the milliseconds until the function's timeout. */
  remainingMs(): number;
  /** The environment that the invocation runs in. The handler must guard everything that it reaches the world with. */
  readonly environment: EnvironmentModel;
}

/** A Lambda function behind a queue. */
export type BatchHandler = (records: readonly ReceivedMessage[], invocation: Invocation) => Promise<BatchResponse>;

export interface EventSourceModelOptions {
  readonly queue: SqsModel;
  readonly handler: BatchHandler;
  /** From 1 to 10. Larger batches need a batching window, which this model doesn't have. */
  readonly batchSize: number;
  /** The function's timeout. */
  readonly timeoutMs: number;
  /** `MaximumConcurrency`, from 2 to 1,000. Default: none. */
  readonly maximumConcurrency?: number;
}

export interface EventSourceModel {
  /** Returns the number of pollers. */
  pollers(): number;
  /** Returns the number of invocations in flight. */
  invocations(): number;
  /** Returns how many environments were started so far. */
  environmentsStarted(): number;
  /** Returns the environments that run an invocation. */
  runningEnvironments(): readonly EnvironmentModel[];
  /** Stops receiving messages. Invocations in flight go on. Without it, virtual time never ends. */
  close(): void;
}

const FIRST_POLLERS = 5;
const GROWTH_INTERVAL_MS = 60_000 / 300;
const MAX_POLLERS = 1_250;
const WAIT_SECONDS = 20;
const RETRY_MS = 1_000;
const MAX_BATCH_SIZE = 10;

/**
 * Starts an event source mapping of Lambda on virtual time, without a batching window and with
 * `ReportBatchItemFailures`. The model follows these rules:
 *
 * - **Scaling.** Five pollers receive and invoke, each one batch at a time. While all of them work, one more is added
 *   every 200 ms (300 a minute), up to `maximumConcurrency` or 1,250. A poller beyond the first five ends when it
 *   receives nothing.
 *   https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
 * - **Results.** Messages that the response names stay hidden until their visibility timeout ends, and the others are
 *   deleted. If the function throws, times out or names an unknown message, the whole batch stays.
 *   https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 * - **Environments.** Each concurrent invocation has its own. An environment is used again, the last one first, unless
 *   it was killed, as the function's timeout does.
 *   https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
 * @throws RangeError if the function's timeout exceeds the queue's visibility timeout, which Lambda refuses, or for an
 * invalid batch size or concurrency
 */
export function startEventSourceModel(time: VirtualTime, options: EventSourceModelOptions): EventSourceModel {
  const { queue, handler, batchSize, timeoutMs, maximumConcurrency = MAX_POLLERS } = options;
  if (timeoutMs > 1000 * queue.visibilitySeconds) {
    throw new RangeError("The function's timeout exceeds the queue's visibility timeout.");
  }
  if (batchSize < 1 || batchSize > MAX_BATCH_SIZE) throw new RangeError('The batch size must be from 1 to 10.');
  if (maximumConcurrency < 2) throw new RangeError('The maximum concurrency must be at least 2.');
  const firstPollers = Math.min(FIRST_POLLERS, maximumConcurrency);
  const idle: EnvironmentModel[] = [];
  const running = new Set<EnvironmentModel>();
  let pollers = 0;
  let receiving = 0;
  let environments = 0;
  let isGrowing = false;
  let isClosed = false;

  async function poll(): Promise<void> {
    pollers += 1;
    while (!isClosed) {
      const records = await receive();
      if (records === undefined) continue;
      if (records.length > 0) {
        growWhileBusy();
        await serve(records);
      } else if (pollers > firstPollers) break;
    }
    pollers -= 1;
  }

  /** Returns a batch, or undefined during an outage of the queue. */
  async function receive(): Promise<ReceivedMessage[] | undefined> {
    receiving += 1;
    try {
      return await queue.receive({ maxMessages: batchSize, waitSeconds: WAIT_SECONDS });
    } catch {
      await time.sleep(RETRY_MS);
      return undefined;
    } finally {
      receiving -= 1;
    }
  }

  async function serve(records: readonly ReceivedMessage[]): Promise<void> {
    const failed = await invoke(records);
    const done = records.filter(({ messageId }) => !failed.has(messageId));
    if (done.length === 0) return;
    const entries = done.map(({ messageId, receiptHandle }) => ({ id: messageId, receiptHandle }));
    // Messages that can't be deleted are delivered again.
    await queue.deleteBatch(entries).catch(() => undefined);
  }

  /** Invokes the function, and returns the ids of the messages to keep. */
  async function invoke(records: readonly ReceivedMessage[]): Promise<ReadonlySet<string>> {
    const all = new Set(records.map(({ messageId }) => messageId));
    const environment = idle.pop() ?? new EnvironmentModel(time, environments++);
    const deadline = time.now() + timeoutMs;
    const cancelTimeout = time.at(deadline, () => environment.kill());
    running.add(environment);
    environment.start();
    try {
      const invocation = { environment, remainingMs: () => Math.max(0, deadline - time.now()) };
      const response = await Promise.race([handler(records, invocation), environment.whenKilled]);
      if (response === undefined || environment.isKilled) return all;
      const failed = new Set(response.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
      return [...failed].every((id) => all.has(id)) ? failed : all;
    } catch {
      return all;
    } finally {
      cancelTimeout();
      running.delete(environment);
      environment.freeze();
      if (!environment.isKilled) idle.push(environment);
    }
  }

  function growWhileBusy(): void {
    if (isGrowing) return;
    isGrowing = true;
    time.at(time.now() + GROWTH_INTERVAL_MS, () => {
      isGrowing = false;
      if (isClosed || receiving > 0) return;
      if (pollers < Math.min(maximumConcurrency, MAX_POLLERS)) startPoller();
      growWhileBusy();
    });
  }

  function startPoller(): void {
    void poll();
    time.settled();
  }

  for (let count = 0; count < firstPollers; count += 1) startPoller();
  return {
    pollers: () => pollers,
    invocations: () => running.size,
    environmentsStarted: () => environments,
    runningEnvironments: () => [...running],
    close() {
      isClosed = true;
    },
  };
}
