import { Exclusion } from '../core/exclusion.ts';
import { startHeartbeat } from '../core/heartbeat.ts';
import type { QueueRecord } from './queue-event.ts';
import { RecentMaximum } from './recent-maximum.ts';

/** Requests to the queue that a function consumes. All of them throw SQS's errors. */
export interface MessageQueue {
  /** Receives up to `max` messages, 10 at most, without waiting for any, and hides them for `visibilitySeconds`. */
  receive(max: number, visibilitySeconds: number): Promise<readonly QueueRecord[]>;
  /** Deletes messages. */
  remove(receiptHandles: readonly string[]): Promise<void>;
  /** Hides messages for `seconds` from now on. */
  setVisibility(receiptHandles: readonly string[], seconds: number): Promise<void>;
  /** Returns how many messages of the queue are hidden, approximately. */
  countHidden(): Promise<number>;
}

/** What becomes of a message: it is deleted, or hidden for so long and then delivered again. */
export type MessageAction = { readonly kind: 'delete' } | { readonly kind: 'hide'; readonly ms: number };

/** What a message is processed with. */
export interface Processing {
  /** Whether a whole invocation remains. It doesn't after a long wait. */
  readonly isWhole: () => boolean;
  /** Runs a function while this process handles no other message. Waits for that first. */
  readonly runAlone: <T>(run: () => Promise<T>) => Promise<T>;
  /** Whether the message may be hidden for so long. Otherwise it should be replaced by a new one. */
  readonly mayHide: (ms: number) => boolean;
}

export interface PoolOptions {
  readonly queue: MessageQueue;
  /** Messages in hand at once in an invocation. */
  readonly places: number;
  /** Bytes in hand at once in the process. A larger message is processed alone. */
  readonly maxBytes: number;
  /** Returns the size of what a message makes the process load. */
  readonly bytesOf: (record: QueueRecord) => number;
  /** Returns the milliseconds for which a message is hidden whose bytes don't fit. Default: 5 s for each time that it was received. */
  readonly postponeMs?: (record: QueueRecord) => number;
  /** Seconds for which messages in hand stay hidden, unless that is extended. */
  readonly visibilitySeconds: number;
  /** Processes a message. Never rejects. */
  readonly process: (record: QueueRecord, processing: Processing, invocation: Invocation) => Promise<MessageAction>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly onError: (what: string, thrown: unknown) => void;
}

/** An invocation of the function. */
export interface Invocation {
  readonly requestId: string;
  /** Aborts shortly before the function's timeout. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds at which `signal` aborts. */
  readonly deadlineAt: number;
}

/** An invocation that has just begun is whole, in milliseconds since its beginning. */
const WHOLE_MS = 30_000;
/** No message is received with less time left. */
const LEAST_REMAINING_MS = 60_000;
/** How much longer than the longest recent message the next one may take, in milliseconds. */
const RESERVE_MS = 2_000;
/** The longest of at least so many recent messages, and at most twice as many, says how long the next one may take. */
const REMEMBERED = 100;
/** Ended messages are deleted so many at a time, or after `REMOVE_AFTER_MS`. */
const REMOVE_BATCH = 10;
const REMOVE_AFTER_MS = 500;
/** Between two receives while messages are processed, after the queue was empty. */
const EMPTY_MS = 1_000;
/** Between two tries of a receive that failed. */
const RETRY_MS = 2_000;
/** Between two looks whether a message's bytes fit into the process now. */
const FIT_MS = 250;
/** A message whose bytes have not fitted for so long is left to other processes, which may have room. */
const FIT_PATIENCE_MS = 10_000;
/** How long such a message is hidden, for each time that it was received, so that it never comes to SQS's limit of receives. */
const FIT_PAUSE_MS = 5_000;
const LONGEST_FIT_PAUSE_MS = 900_000;
/** SQS stops delivering at 120,000 hidden messages, without an error. Long before, messages are replaced instead of being hidden. */
const MAX_HIDDEN = 20_000;
const HIDDEN_COUNTED_MS = 30_000;
/** A process that hides this many counts again: many processes that hide a resting model's messages pass the limit in seconds. */
const HIDDEN_UNCOUNTED = 100;
/** A message is replaced long before SQS dead-letters it. */
const MAX_RECEIVES = 100;
/** SQS refuses a visibility of more than 12 hours from the receive on. */
const MAX_HIDE_MS = 11 * 3_600_000;

/**
 * Processes the messages of invocations: those of an invocation's event, and then others that it receives itself whenever a
 * place is free and enough time is left, so that short messages don't wait for the longest one of their batch. One pool
 * serves all invocations of a process.
 */
export class MessagePool {
  readonly #options: PoolOptions;
  readonly #exclusion = new Exclusion();
  #bytes = 0;
  readonly #durations = new RecentMaximum(REMEMBERED);
  /** SQS's latest count, and how many messages this process may have hidden since then. */
  #hidden = { count: 0, since: 0, at: Number.NEGATIVE_INFINITY };

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /**
   * Serves an invocation until its last message has been processed.
   * @returns the ids of the event's messages that must not be deleted
   */
  async serve(records: readonly QueueRecord[], invocation: Invocation): Promise<readonly string[]> {
    const served = new Served(records, invocation, this.#options);
    try {
      await this.#serve(served);
    } finally {
      await served.end();
    }
    return served.kept;
  }

  async #serve(served: Served): Promise<void> {
    const { places, sleep, now } = this.#options;
    const active = new Set<Promise<void>>();
    let receiving: Promise<number> | undefined;
    let pause = new AbortController();
    for (;;) {
      for (let record = this.#next(served, active.size); record !== undefined; ) {
        const task: Promise<void> = this.#process(record, served).finally(() => active.delete(task));
        active.add(task);
        record = this.#next(served, active.size);
      }
      const free = served.pending.length > 0 ? 0 : places - active.size;
      if (receiving === undefined && free > 0 && this.#mayReceive(served)) {
        pause = new AbortController();
        receiving = served.receive(free, active.size > 0 ? pause.signal : undefined).finally(() => {
          receiving = undefined;
        });
      }
      const isFull = active.size > 0 && served.pending.length > 0;
      if (isFull && now() - served.pendingSince >= FIT_PATIENCE_MS) await served.postponePending();
      if (active.size > 0 || (served.pending.length > 0 && !served.invocation.signal.aborted)) {
        await Promise.race([
          ...active,
          ...(receiving === undefined ? [] : [receiving]),
          ...(served.pending.length > 0 ? [sleep(FIT_MS, NEVER)] : []),
        ]);
        continue;
      }
      // The invocation must not last longer than its last message.
      pause.abort('finished');
      const received = (await receiving) ?? 0;
      if (received === 0 || served.invocation.signal.aborted) return;
    }
  }

  /** Takes the first message whose bytes fit, if a place is free. */
  #next({ pending, invocation }: Served, activeCount: number): QueueRecord | undefined {
    if (activeCount >= this.#options.places || invocation.signal.aborted) return undefined;
    const { bytesOf, maxBytes } = this.#options;
    const index = pending.findIndex((record) => this.#bytes === 0 || this.#bytes + bytesOf(record) <= maxBytes);
    const [record] = index === -1 ? [] : pending.splice(index, 1);
    if (record !== undefined) this.#bytes += bytesOf(record);
    return record;
  }

  #mayReceive({ invocation: { signal, deadlineAt }, beganAt }: Served): boolean {
    // A message that would have to wait here is better left to another process.
    if (this.#exclusion.isBlocked || this.#bytes >= this.#options.maxBytes) return false;
    const half = (deadlineAt - beganAt) / 2;
    const reserveMs = Math.min(Math.max(this.#durations.maximum + RESERVE_MS, LEAST_REMAINING_MS), half);
    return !signal.aborted && deadlineAt - this.#options.now() > reserveMs;
  }

  async #process(record: QueueRecord, served: Served): Promise<void> {
    const { now, process, bytesOf } = this.#options;
    // Time in which the message waits for others, or to run alone, says nothing about the next message.
    let startedAt: number | undefined;
    try {
      const action = await this.#exclusion.run(({ runAlone }) => {
        startedAt = now();
        return process(
          record,
          {
            isWhole: () => now() - served.beganAt < WHOLE_MS,
            runAlone: (run) =>
              runAlone(() => {
                startedAt = now();
                return run();
              }),
            mayHide: (ms) => this.#mayHide(record, ms),
          },
          served.invocation,
        );
      });
      await served.settle(record, action);
    } finally {
      this.#bytes -= bytesOf(record);
      if (startedAt !== undefined) this.#durations.add(now() - startedAt);
    }
  }

  #mayHide({ attributes: { ApproximateReceiveCount } }: QueueRecord, ms: number): boolean {
    const { now, queue, onError } = this.#options;
    const { at, since } = this.#hidden;
    if (now() - at > HIDDEN_COUNTED_MS || since >= HIDDEN_UNCOUNTED) {
      this.#hidden = { count: this.#hidden.count + since, since: 0, at: now() };
      queue.countHidden().then(
        (count) => {
          this.#hidden = { ...this.#hidden, count };
        },
        (thrown: unknown) => onError('hidden messages not counted', thrown),
      );
    }
    const { count } = this.#hidden;
    const mayHide = ms <= MAX_HIDE_MS && Number(ApproximateReceiveCount) < MAX_RECEIVES && count < MAX_HIDDEN;
    if (mayHide) this.#hidden.since += 1;
    return mayHide;
  }
}

const NEVER = new AbortController().signal;

function computeFitPauseMs({ attributes: { ApproximateReceiveCount } }: QueueRecord): number {
  return Math.min(FIT_PAUSE_MS * Number(ApproximateReceiveCount), LONGEST_FIT_PAUSE_MS);
}

/** The messages of one invocation. */
class Served {
  readonly invocation: Invocation;
  readonly beganAt: number;
  /** Messages in hand that are not being processed yet. */
  readonly pending: QueueRecord[];
  /** Since when the messages of `pending` are in hand, in epoch milliseconds. */
  pendingSince: number;
  readonly #options: PoolOptions;
  /** Ids of the event's own messages, which Lambda deletes unless they are reported as failed. */
  readonly #ofEvent: ReadonlySet<string>;
  readonly #kept = new Set<string>();
  /** Receipt handles of messages in hand. */
  readonly #inHand = new Set<string>();
  readonly #ended: QueueRecord[] = [];
  readonly #heartbeat: ReturnType<typeof startHeartbeat>;
  readonly #finished = new AbortController();
  #extending: Promise<void> | undefined;
  #removing: Promise<void> | undefined;

  constructor(records: readonly QueueRecord[], invocation: Invocation, options: PoolOptions) {
    const { now, sleep, visibilitySeconds } = options;
    this.invocation = invocation;
    this.beganAt = now();
    this.pendingSince = this.beganAt;
    this.pending = [...records];
    this.#options = options;
    this.#ofEvent = new Set(records.map(({ messageId }) => messageId));
    for (const { receiptHandle } of records) this.#inHand.add(receiptHandle);
    // The first extension is made at once: the queue's own visibility is as long as the function's timeout.
    const extend = async () => {
      await this.#extend();
      return (visibilitySeconds * 1000) / 3;
    };
    this.#heartbeat = startHeartbeat(0, extend, sleep);
  }

  /** Ids of the event's messages that Lambda must not delete. */
  get kept(): readonly string[] {
    return [...this.#kept];
  }

  /**
   * Receives messages into `pending`. Never rejects.
   * @param pause ends the pause that follows if there are none. Absent for no pause
   * @returns how many
   */
  async receive(max: number, pause: AbortSignal | undefined): Promise<number> {
    const { queue, visibilitySeconds, sleep, now, onError } = this.#options;
    try {
      const records = await queue.receive(max, visibilitySeconds);
      for (const record of records) this.#inHand.add(record.receiptHandle);
      this.pending.push(...records);
      this.pendingSince = now();
      if (records.length === 0 && pause !== undefined) await sleep(EMPTY_MS, pause);
      return records.length;
    } catch (thrown) {
      onError('messages not received', thrown);
      if (pause !== undefined) await sleep(RETRY_MS, pause);
      return 0;
    }
  }

  /** Does what becomes of a processed message. Never rejects: a message that can't be changed is delivered again. */
  async settle(record: QueueRecord, action: MessageAction): Promise<void> {
    this.#inHand.delete(record.receiptHandle);
    if (action.kind === 'delete') {
      this.#ended.push(record);
      this.#removing ??= this.#removeSoon();
      if (this.#ended.length >= REMOVE_BATCH) await this.#remove();
      return;
    }
    this.#keep(record);
    // An extension that is under way would undo the pause if it came second.
    await this.#extending;
    await this.#hide([record.receiptHandle], Math.ceil(action.ms / 1000));
  }

  /** Returns unprocessed messages to the queue and deletes ended ones. Never rejects. */
  async end(): Promise<void> {
    await this.#heartbeat.stop();
    const handles = (await this.#leavePending()).map(({ receiptHandle }) => receiptHandle);
    if (handles.length > 0) await this.#hide(handles, 0);
    this.#finished.abort('finished');
    await this.#removing;
    await this.#remove();
  }

  /** Leaves the messages that don't fit to other processes. Never rejects. */
  async postponePending(): Promise<void> {
    const { postponeMs = computeFitPauseMs } = this.#options;
    const records = await this.#leavePending();
    await Promise.all(
      records.map((record) => this.#hide([record.receiptHandle], Math.ceil(postponeMs(record) / 1000))),
    );
  }

  /** Takes the unprocessed messages out of hand. Returns them once no extension of their visibility is under way. */
  async #leavePending(): Promise<readonly QueueRecord[]> {
    const records = this.pending.splice(0);
    for (const record of records) {
      this.#keep(record);
      this.#inHand.delete(record.receiptHandle);
    }
    await this.#extending;
    return records;
  }

  #keep({ messageId }: QueueRecord): void {
    if (this.#ofEvent.has(messageId)) this.#kept.add(messageId);
  }

  async #extend(): Promise<void> {
    if (this.#inHand.size === 0) return;
    this.#extending = this.#hide([...this.#inHand], this.#options.visibilitySeconds);
    await this.#extending;
  }

  async #hide(receiptHandles: readonly string[], seconds: number): Promise<void> {
    const { queue, onError } = this.#options;
    await queue
      .setVisibility(receiptHandles, seconds)
      .catch((thrown: unknown) => onError('visibility not changed', thrown));
  }

  async #removeSoon(): Promise<void> {
    // Also those that end during a request. `end` waits for all of them.
    do {
      await this.#options.sleep(REMOVE_AFTER_MS, this.#finished.signal);
      await this.#remove();
    } while (this.#ended.length > 0);
    this.#removing = undefined;
  }

  async #remove(): Promise<void> {
    const { queue, onError } = this.#options;
    const ended = this.#ended.splice(0);
    if (ended.length === 0) return;
    await queue
      .remove(ended.map(({ receiptHandle }) => receiptHandle))
      .catch((thrown: unknown) => onError('messages not deleted', thrown));
  }
}
