import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { LambentError } from '../shared/core/errors.ts';
import { isObject } from '../shared/core/objects.ts';
import type { LogLine } from './lambda/environment.ts';
import { ACCOUNT_ID } from './lambda/function.ts';
import type { Runner } from './lambda/runner.ts';

/** A subscription filter: lines of one function's log that are sent to another function. */
export interface LogSubscription {
  /** The short name of the function whose lines are sent. */
  readonly source: string;
  /** The name of its log group. */
  readonly logGroup: string;
  readonly filterName: string;
  readonly pattern: string;
  /** The short name of the function that gets them. */
  readonly destination: string;
}

export interface LogSubscriptions {
  /** Called with each line that a function writes. */
  write(line: LogLine): void;
  /** Sends what is left, and waits until it is delivered or given up. */
  close(): Promise<void>;
}

/** Milliseconds for which lines of a function are gathered into a batch. */
const GATHER_MS = 500;
/** Lambda repeats a failed asynchronous invocation twice, after one and two minutes. A laptop doesn't wait for so long. */
const RETRIES_MS = [1_000, 2_000];

interface LogEvent {
  readonly id: string;
  readonly timestamp: number;
  readonly message: string;
}

/**
 * Delivers log lines to functions as CloudWatch does by its subscription filters: in compressed batches. A batch that
 * could not be delivered is delivered again, so that its function may get it more than once.
 * @throws LambentError `configuration` for a filter pattern that isn't supported here
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
 */
export function startLogSubscriptions(
  subscriptions: readonly LogSubscription[],
  runner: Pick<Runner, 'invoke'>,
  gatherMs: number = GATHER_MS,
): LogSubscriptions {
  const channels = subscriptions.map((subscription) => new Channel(subscription, runner, gatherMs));
  const bySource = Map.groupBy(channels, ({ source }) => source);
  return {
    write(line) {
      for (const channel of bySource.get(line.function) ?? []) channel.write(line);
    },
    close: async () => void (await Promise.all(channels.map((channel) => channel.close()))),
  };
}

/** Delivers the lines of one function, one batch after another: a laptop runs few processes of the destination. */
class Channel {
  readonly source: string;
  readonly #subscription: LogSubscription;
  readonly #matches: (line: string) => boolean;
  readonly #runner: Pick<Runner, 'invoke'>;
  readonly #gatherMs: number;
  readonly #closing = new AbortController();
  #events: LogEvent[] = [];
  #delivering: Promise<void> | undefined;

  constructor(subscription: LogSubscription, runner: Pick<Runner, 'invoke'>, gatherMs: number) {
    this.source = subscription.source;
    this.#subscription = subscription;
    this.#matches = createFilter(subscription.pattern);
    this.#runner = runner;
    this.#gatherMs = gatherMs;
  }

  write({ stream, text: message }: LogLine): void {
    if (stream !== 'stdout' || !this.#matches(message)) return;
    this.#events.push({ id: randomUUID(), timestamp: Date.now(), message });
    this.#delivering ??= this.#deliverAll().finally(() => {
      this.#delivering = undefined;
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#delivering;
  }

  async #deliverAll(): Promise<void> {
    while (this.#events.length > 0) {
      await this.#pause(this.#gatherMs);
      const events = this.#events;
      this.#events = [];
      await this.#deliver(JSON.stringify(toEvent(this.#subscription, events)));
    }
  }

  /** Invokes the function until it succeeds, at most three times. */
  async #deliver(event: string): Promise<void> {
    for (const pauseMs of [...RETRIES_MS, undefined]) {
      try {
        const { body, failure } = await this.#runner.invoke(this.#subscription.destination, event);
        await text(body);
        if (failure() === undefined) return;
      } catch {
        // The function's own log says why.
      }
      if (pauseMs === undefined || this.#closing.signal.aborted) return;
      await this.#pause(pauseMs);
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}

function toEvent({ source, logGroup, filterName }: LogSubscription, logEvents: readonly LogEvent[]): object {
  const data = {
    messageType: 'DATA_MESSAGE',
    owner: ACCOUNT_ID,
    logGroup,
    logStream: `local/[$LATEST]${source}`,
    subscriptionFilters: [filterName],
    logEvents,
  };
  return { awslogs: { data: gzipSync(JSON.stringify(data)).toString('base64') } };
}

/** The patterns that are supported: a field of a JSON line is present, or has a certain text. */
const PATTERN = /^\{\s*\$\.([A-Za-z_]\w*)\s*=\s*"([^"]*)"\s*\}$/;

/**
 * Returns the function that a filter pattern describes.
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
 */
function createFilter(pattern: string): (line: string) => boolean {
  const [, field = '', value = ''] = PATTERN.exec(pattern) ?? [];
  if (field === '' || value.slice(0, -1).includes('*')) {
    throw new LambentError('configuration', `The local cloud doesn't support the filter pattern ${pattern}`);
  }
  const prefix = value.endsWith('*') ? value.slice(0, -1) : undefined;
  return (line) => {
    // Most lines of most functions lack the field, and needn't be parsed.
    if (!line.includes(`"${field}"`)) return false;
    const found = parseLine(line)?.[field];
    return typeof found === 'string' && (prefix === undefined ? found === value : found.startsWith(prefix));
  };
}

function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    return isObject(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}
