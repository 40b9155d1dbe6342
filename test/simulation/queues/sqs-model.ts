import { SQSServiceException } from '@aws-sdk/client-sqs';
import { Heap } from '../heap.ts';
import type { VirtualTime } from '../virtual-time.ts';
import { OrderedList } from './ordered-list.ts';

export interface SqsModelOptions {
  /** The queue's name, which its message ids begin with. */
  readonly name: string;
  /** Seconds for which a received message stays hidden unless the receive says otherwise. Default: SQS's, 30. */
  readonly visibilitySeconds?: number;
  /** Seconds after which a message is removed, counted from its first enqueue time. Default: 14 days, SQS's maximum. */
  readonly retentionSeconds?: number;
  readonly redrive?: {
    readonly deadLetterQueue: SqsModel;
    /** A message that was received this many times moves to the dead-letter queue instead of being received again. */
    readonly maxReceiveCount: number;
  };
  /**
   * Best-effort order: each received message is chosen at random among this many of the oldest visible messages.
   * Default: 1, which is the order of sending.
   */
  readonly mixedMessages?: number;
  /** Chooses among the oldest messages. Required if `mixedMessages` is above 1. */
  readonly random?: () => number;
  /** Messages in flight at most. Default: SQS's, about 120,000. */
  readonly maxInFlight?: number;
}

export interface OutgoingMessage {
  readonly body: string;
  /** The message group (`MessageGroupId`), for fair queues. */
  readonly group?: string;
  /** From 0 to 900. */
  readonly delaySeconds?: number;
}

export interface ReceiveOptions {
  /** From 1 to 10. Default: 1. */
  readonly maxMessages?: number;
  readonly visibilitySeconds?: number;
  /** Long polling: seconds to wait for a message, from 0 to 20. Default: 0. */
  readonly waitSeconds?: number;
}

/** A received message, in the shape of Lambda's SQS event. */
export interface ReceivedMessage {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly body: string;
  readonly attributes: {
    readonly SenderId: string;
    readonly ApproximateReceiveCount: string;
    /** Milliseconds. */
    readonly SentTimestamp: string;
    readonly ApproximateFirstReceiveTimestamp: string;
    readonly MessageGroupId?: string;
  };
}

/** An entry of a batch request that SQS refused. */
export interface BatchFailure {
  readonly id: string;
  readonly code: string;
  readonly message: string;
}

export interface BatchResult {
  readonly successful: readonly string[];
  readonly failed: readonly BatchFailure[];
}

/** Numbers of messages. `visible` can be received, `hidden` are in flight, `delayed` have never been visible. */
export interface MessageCounts {
  readonly visible: number;
  readonly hidden: number;
  readonly delayed: number;
}

interface StoredMessage {
  readonly messageId: string;
  readonly body: string;
  readonly group: string | undefined;
  readonly sentAt: number;
  /** Position in the order of sending. */
  readonly order: number;
  state: 'visible' | 'hidden' | 'delayed' | 'removed';
  /** When it becomes visible. */
  visibleAt: number;
  receiveCount: number;
  receivedAt: number;
  firstReceivedAt: number | undefined;
}

/** A message group's visible messages and its use of consumers. */
interface Group {
  /** In the order of sending. */
  readonly visible: OrderedList<StoredMessage>;
  readonly usage: Usage;
  lastSentAt: number;
}

const BATCH_SIZE = 10;
const MAX_VISIBILITY_SECONDS = 43_200;
const MAX_DELAY_SECONDS = 900;
const MAX_WAIT_SECONDS = 20;
const MAX_MESSAGE_BYTES = 1_048_576;
const MAX_IN_FLIGHT = 120_000;
const MAX_RETENTION_SECONDS = 14 * 24 * 3_600;
const COUNT_INTERVAL_MS = 60_000;
const NOISY_SHARE = 0.1;
const NOISY_IN_FLIGHT = 30;
const NOISY_MEMORY_MS = 300_000;

/**
 * A standard SQS queue on virtual time. Requests take no time. The class models these rules:
 *
 * - **Visibility.** A received message is hidden for its visibility timeout and then visible again. The timeout can be
 *   changed while the message is in flight, but it never ends later than 12 hours after the receive: a longer one is
 *   refused, not shortened. Only the last receipt handle has an effect.
 *   https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
 * - **Limits.** A delay is at most 900 s; a batch has at most 10 entries and reports each refused one in `failed`. With
 *   120,000 messages in flight, long polling returns nothing, and short polling fails with `OverLimit`.
 *   https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
 * - **Retention.** A message is removed when its retention ends, in flight or not. A dead letter keeps its first enqueue
 *   time, so its retention includes the time in the source queue.
 *   https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
 * - **Fair queues.** A message group with more than 10% of the messages in flight and at least 30 of them, or with more
 *   than 10% of the recent processing time, is noisy. Messages of quiet groups are received first, then those of the
 *   noisy group with the fewest in flight. A group is quiet again once none of its messages wait, or after it sent none
 *   for 5 minutes. A message without a group is a group of its own.
 *   https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html
 *   AWS doesn't say what "recent" means: here, processing time loses its weight with a time constant of 5 minutes.
 * - **Counts** are taken once a minute, so they lag by up to a minute.
 *   https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
 */
export class SqsModel {
  readonly #time: VirtualTime;
  readonly #options: SqsModelOptions;
  readonly #messages = new Map<number, StoredMessage>();
  readonly #groups = new Map<string | undefined, Group>();
  readonly #usage = new Usage();
  /** Messages by the time at which they become visible. May hold outdated entries. */
  readonly #hidden = new Heap<{ readonly at: number; readonly message: StoredMessage }>((a, b) => a.at < b.at);
  readonly #retained = new Heap<StoredMessage>((a, b) => a.sentAt < b.sentAt);
  readonly #waiting = new Set<AbortController>();
  #counts = { visible: 0, hidden: 0, delayed: 0 };
  #lastCounts: MessageCounts = { visible: 0, hidden: 0, delayed: 0 };
  #nextCountAt: number;
  #sentCount = 0;
  #isAvailable = true;
  #nextOrder = 0;
  /** The time up to which messages have become visible and were removed. */
  #advancedTo = 0;

  constructor(time: VirtualTime, options: SqsModelOptions) {
    if ((options.mixedMessages ?? 1) > 1 && options.random === undefined) {
      throw new TypeError('A queue that mixes its messages needs `random`.');
    }
    this.#time = time;
    this.#options = options;
    this.#nextCountAt = time.now() + COUNT_INTERVAL_MS;
  }

  /** Seconds for which a received message stays hidden by default. */
  get visibilitySeconds(): number {
    return this.#options.visibilitySeconds ?? 30;
  }

  /** The number of messages ever sent to this queue, dead letters excluded. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /** Begins or ends an outage, in which every request fails. Visibility and retention go on. */
  setAvailable(isAvailable: boolean): void {
    this.#isAvailable = isAvailable;
  }

  /** @returns the message's id */
  async send(message: OutgoingMessage): Promise<string> {
    this.#begin();
    return this.#send(message);
  }

  async sendBatch(entries: readonly (OutgoingMessage & { readonly id: string })[]): Promise<BatchResult> {
    return this.#runBatch(entries, (entry) => void this.#send(entry));
  }

  async receive({
    maxMessages = 1,
    visibilitySeconds,
    waitSeconds = 0,
  }: ReceiveOptions = {}): Promise<ReceivedMessage[]> {
    this.#begin();
    checkRange('MaxNumberOfMessages', maxMessages, 1, BATCH_SIZE);
    checkRange('VisibilityTimeout', visibilitySeconds ?? 0, 0, MAX_VISIBILITY_SECONDS);
    checkRange('WaitTimeSeconds', waitSeconds, 0, MAX_WAIT_SECONDS);
    const waitsUntil = this.#time.now() + 1000 * waitSeconds;
    const hiddenMs = 1000 * (visibilitySeconds ?? this.visibilitySeconds);
    for (;;) {
      if (waitSeconds === 0 && this.#isFull())
        throw createSqsError('OverLimit', 'Too many messages are in flight.', 403);
      const received = this.#take(maxMessages, hiddenMs);
      if (received.length > 0 || this.#time.now() >= waitsUntil) return received;
      await this.#waitForMessage(waitsUntil);
      this.#begin();
    }
  }

  async changeVisibility(receiptHandle: string, seconds: number): Promise<void> {
    this.#begin();
    this.#changeVisibility(receiptHandle, seconds);
  }

  async changeVisibilityBatch(
    entries: readonly { readonly id: string; readonly receiptHandle: string; readonly seconds: number }[],
  ): Promise<BatchResult> {
    return this.#runBatch(entries, (entry) => this.#changeVisibility(entry.receiptHandle, entry.seconds));
  }

  /** Deletes a message, in flight or not. An outdated receipt handle has no effect, but is accepted. */
  async delete(receiptHandle: string): Promise<void> {
    this.#begin();
    this.#delete(receiptHandle);
  }

  async deleteBatch(entries: readonly { readonly id: string; readonly receiptHandle: string }[]): Promise<BatchResult> {
    return this.#runBatch(entries, (entry) => this.#delete(entry.receiptHandle));
  }

  /** Returns the approximate numbers of messages: what they were at most a minute ago. */
  async readCounts(): Promise<MessageCounts> {
    this.#begin();
    return this.#lastCounts;
  }

  /** Returns the exact numbers of messages at this moment, also during an outage. Only a test can know them. */
  inspectCounts(): MessageCounts {
    this.#advance();
    return { ...this.#counts };
  }

  /** Accepts a message from the queue whose dead-letter queue this is. */
  #acceptDeadLetter({ messageId, body, group, sentAt }: StoredMessage): void {
    this.#advance();
    this.#add({ messageId, body, group, sentAt, delayMs: 0 });
  }

  #send({ body, group, delaySeconds = 0 }: OutgoingMessage): string {
    checkRange('DelaySeconds', delaySeconds, 0, MAX_DELAY_SECONDS);
    if (Buffer.byteLength(body) > MAX_MESSAGE_BYTES) {
      throw createSqsError('InvalidParameterValue', 'One or more parameters are invalid. Reason: too long.');
    }
    const messageId = `${this.#options.name}-${this.#sentCount++}`;
    this.#add({ messageId, body, group, sentAt: this.#time.now(), delayMs: 1000 * delaySeconds });
    return messageId;
  }

  #add({
    delayMs,
    ...content
  }: Pick<StoredMessage, 'messageId' | 'body' | 'group' | 'sentAt'> & { readonly delayMs: number }): void {
    const now = this.#time.now();
    const message: StoredMessage = {
      ...content,
      order: this.#nextOrder++,
      state: 'removed',
      visibleAt: now + delayMs,
      receiveCount: 0,
      receivedAt: 0,
      firstReceivedAt: undefined,
    };
    this.#messages.set(message.order, message);
    this.#retained.push(message);
    this.#groupOf(message).lastSentAt = now;
    if (delayMs > 0) this.#hide(message, 'delayed', now + delayMs);
    else this.#show(message);
    // Waiting consumers also need to know when a delayed message becomes visible.
    this.#wakeConsumers();
  }

  #changeVisibility(receiptHandle: string, seconds: number): void {
    checkRange('VisibilityTimeout', seconds, 0, MAX_VISIBILITY_SECONDS);
    const message = this.#find(receiptHandle);
    if (message === undefined || message.state !== 'hidden') {
      throw createSqsError(
        'InvalidParameterValue',
        `Value ${receiptHandle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.`,
      );
    }
    const now = this.#time.now();
    if (now + 1000 * seconds > message.receivedAt + 1000 * MAX_VISIBILITY_SECONDS) {
      throw createSqsError(
        'InvalidParameterValue',
        `Value ${seconds} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [${MAX_VISIBILITY_SECONDS} seconds]`,
      );
    }
    if (seconds > 0) this.#hide(message, 'hidden', now + 1000 * seconds);
    else this.#show(message);
    this.#wakeConsumers();
  }

  #delete(receiptHandle: string): void {
    const message = this.#find(receiptHandle);
    if (message !== undefined) this.#remove(message);
  }

  /** Returns the message of a receipt handle, unless it is gone or was received again since. */
  #find(receiptHandle: string): StoredMessage | undefined {
    const [order, receiveCount] = receiptHandle.split('/');
    if (receiveCount === undefined) {
      throw createSqsError('ReceiptHandleIsInvalid', 'The specified receipt handle is not valid.');
    }
    const message = this.#messages.get(Number(order));
    return message !== undefined && message.receiveCount === Number(receiveCount) ? message : undefined;
  }

  /** Receives visible messages. Messages that were received too often move to the dead-letter queue. */
  #take(maxMessages: number, hiddenMs: number): ReceivedMessage[] {
    const now = this.#time.now();
    const received: ReceivedMessage[] = [];
    const { redrive } = this.#options;
    while (received.length < maxMessages && !this.#isFull()) {
      const message = this.#choose();
      if (message === undefined) break;
      if (redrive !== undefined && message.receiveCount >= redrive.maxReceiveCount) {
        this.#remove(message);
        redrive.deadLetterQueue.#acceptDeadLetter(message);
        continue;
      }
      message.receiveCount += 1;
      message.receivedAt = now;
      message.firstReceivedAt ??= now;
      if (hiddenMs > 0) this.#hide(message, 'hidden', now + hiddenMs);
      received.push(toReceivedMessage(message));
      // A message that isn't hidden could be chosen again at once.
      if (hiddenMs === 0) break;
    }
    return received;
  }

  /** Chooses the next message to receive: from quiet groups if any of their messages is visible. */
  #choose(): StoredMessage | undefined {
    const now = this.#time.now();
    const quiet: Group[] = [];
    let leastBusy: Group | undefined;
    for (const [name, group] of this.#groups) {
      if (group.visible.length === 0) continue;
      if (name === undefined || !this.#isNoisy(group, now)) quiet.push(group);
      else if (leastBusy === undefined || group.usage.inFlight < leastBusy.usage.inFlight) leastBusy = group;
    }
    const groups = quiet.length > 0 || leastBusy === undefined ? quiet : [leastBusy];
    const visibleCount = groups.reduce((sum, { visible }) => sum + visible.length, 0);
    if (visibleCount === 0) return undefined;
    const mixed = Math.min(this.#options.mixedMessages ?? 1, visibleCount);
    const position = mixed > 1 ? Math.floor((this.#options.random?.() ?? 0) * mixed) : 0;
    return findInOrder(groups, position);
  }

  #isNoisy({ usage, lastSentAt }: Group, now: number): boolean {
    if (now - lastSentAt >= NOISY_MEMORY_MS) return false;
    const hasManyInFlight = usage.inFlight >= NOISY_IN_FLIGHT && usage.inFlight > NOISY_SHARE * this.#usage.inFlight;
    return hasManyInFlight || usage.processingMs(now) > NOISY_SHARE * this.#usage.processingMs(now);
  }

  #isFull(): boolean {
    return this.#counts.hidden >= (this.#options.maxInFlight ?? MAX_IN_FLIGHT);
  }

  #hide(message: StoredMessage, state: 'hidden' | 'delayed', until: number): void {
    message.visibleAt = until;
    this.#hidden.push({ at: until, message });
    this.#setState(message, state);
  }

  #show(message: StoredMessage): void {
    this.#setState(message, 'visible');
  }

  #remove(message: StoredMessage): void {
    this.#setState(message, 'removed');
    this.#messages.delete(message.order);
  }

  #setState(message: StoredMessage, state: StoredMessage['state']): void {
    const from = message.state;
    if (from === state) return;
    const now = this.#advancedTo;
    const group = this.#groupOf(message);
    message.state = state;
    if (from !== 'removed') this.#counts[from] -= 1;
    if (state !== 'removed') this.#counts[state] += 1;
    if (from === 'visible') group.visible.remove(message);
    if (state === 'visible') group.visible.add(message);
    if (from === 'hidden' || state === 'hidden') {
      const change = state === 'hidden' ? 1 : -1;
      group.usage.change(change, now);
      this.#usage.change(change, now);
    }
    // Once none of its messages wait, a group is quiet, whatever time it used before.
    if (from === 'visible' && group.visible.length === 0) this.#usage.subtract(group.usage.forget(now), now);
  }

  #groupOf({ group: name }: StoredMessage): Group {
    let group = this.#groups.get(name);
    if (group === undefined) {
      group = { visible: new OrderedList(), usage: new Usage(), lastSentAt: 0 };
      this.#groups.set(name, group);
    }
    return group;
  }

  /**
   * Starts a request.
   * @throws SQSServiceException during an outage
   */
  #begin(): void {
    this.#advance();
    if (!this.#isAvailable) throw createSqsError('ServiceUnavailable', 'The service is unavailable.', 503);
  }

  /** Applies everything that time alone has changed since the last request, in its order. */
  #advance(): void {
    const now = this.#time.now();
    while (this.#nextCountAt <= now) {
      this.#advanceTo(this.#nextCountAt);
      this.#lastCounts = { ...this.#counts };
      this.#nextCountAt += COUNT_INTERVAL_MS;
    }
    this.#advanceTo(now);
  }

  #advanceTo(until: number): void {
    for (let next = this.#hidden.peek(); next !== undefined && next.at <= until; next = this.#hidden.peek()) {
      this.#hidden.pop();
      const { at, message } = next;
      const isCurrent = message.visibleAt === at && (message.state === 'hidden' || message.state === 'delayed');
      if (!isCurrent) continue;
      this.#advancedTo = Math.max(this.#advancedTo, at);
      this.#show(message);
    }
    this.#advancedTo = Math.max(this.#advancedTo, until);
    const retentionMs = 1000 * (this.#options.retentionSeconds ?? MAX_RETENTION_SECONDS);
    for (
      let oldest = this.#retained.peek();
      oldest !== undefined && (oldest.state === 'removed' || oldest.sentAt + retentionMs <= until);
      oldest = this.#retained.peek()
    ) {
      this.#retained.pop();
      if (oldest.state !== 'removed') this.#remove(oldest);
    }
  }

  /** Resolves when a message may have become visible, at `until` at the latest. */
  async #waitForMessage(until: number): Promise<void> {
    const waking = new AbortController();
    this.#waiting.add(waking);
    const visibleAt = this.#hidden.peek()?.at ?? Number.POSITIVE_INFINITY;
    await this.#time.sleep(Math.min(until, visibleAt) - this.#time.now(), waking.signal);
    this.#waiting.delete(waking);
  }

  #wakeConsumers(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waking of waiting) waking.abort();
  }

  async #runBatch<E extends { readonly id: string }>(
    entries: readonly E[],
    run: (entry: E) => void,
  ): Promise<BatchResult> {
    this.#begin();
    if (entries.length === 0) throw createSqsError('EmptyBatchRequest', 'There should be at least one entry.');
    if (entries.length > BATCH_SIZE) {
      throw createSqsError('TooManyEntriesInBatchRequest', `Maximum number of entries per request are ${BATCH_SIZE}.`);
    }
    if (new Set(entries.map(({ id }) => id)).size < entries.length) {
      throw createSqsError('BatchEntryIdsNotDistinct', 'Two or more batch entries have the same id.');
    }
    const successful: string[] = [];
    const failed: BatchFailure[] = [];
    for (const entry of entries) {
      try {
        run(entry);
        successful.push(entry.id);
      } catch (thrown) {
        if (!(thrown instanceof SQSServiceException)) throw thrown;
        failed.push({ id: entry.id, code: thrown.name, message: thrown.message });
      }
    }
    return { successful, failed };
  }
}

/** How many messages are in flight, and how much processing time was used recently. */
class Usage {
  inFlight = 0;
  #processingMs = 0;
  #at = 0;

  /** Returns the recent processing time: that of `t` ms ago counts `exp(-t / 5 min)`. */
  processingMs(now: number): number {
    const decay = Math.exp(-(now - this.#at) / NOISY_MEMORY_MS);
    this.#processingMs = this.#processingMs * decay + this.inFlight * NOISY_MEMORY_MS * (1 - decay);
    this.#at = now;
    return this.#processingMs;
  }

  change(inFlight: number, now: number): void {
    this.processingMs(now);
    this.inFlight += inFlight;
  }

  /** Forgets the processing time, and returns it. */
  forget(now: number): number {
    const forgotten = this.processingMs(now);
    this.#processingMs = 0;
    return forgotten;
  }

  subtract(processingMs: number, now: number): void {
    this.#processingMs = Math.max(0, this.processingMs(now) - processingMs);
  }
}

/** Returns the message at a position in the order of sending over all groups. */
function findInOrder(groups: readonly Group[], position: number): StoredMessage | undefined {
  const [only] = groups;
  if (groups.length === 1 && only !== undefined) return only.visible.at(position);
  // A merge: the heap holds the first message of each group that has not been passed.
  const firsts = new Heap<Position>((a, b) => a.message.order < b.message.order);
  const pushNext = (visible: OrderedList<StoredMessage>, index: number) => {
    const message = visible.at(index);
    if (message !== undefined) firsts.push({ visible, index, message });
  };
  for (const { visible } of groups) pushNext(visible, 0);
  for (let left = position; left > 0; left -= 1) {
    const first = firsts.pop();
    if (first === undefined) return undefined;
    pushNext(first.visible, first.index + 1);
  }
  return firsts.pop()?.message;
}

/** A position in a group's visible messages. */
interface Position {
  readonly visible: OrderedList<StoredMessage>;
  readonly index: number;
  readonly message: StoredMessage;
}

function toReceivedMessage(message: StoredMessage): ReceivedMessage {
  const { messageId, body, group, sentAt, order, receiveCount, firstReceivedAt = 0 } = message;
  return {
    messageId,
    receiptHandle: `${order}/${receiveCount}`,
    body,
    attributes: {
      SenderId: 'sender',
      ApproximateReceiveCount: String(receiveCount),
      SentTimestamp: String(sentAt),
      ApproximateFirstReceiveTimestamp: String(firstReceivedAt),
      ...(group === undefined ? {} : { MessageGroupId: group }),
    },
  };
}

function checkRange(parameter: string, value: number, min: number, max: number): void {
  if (value >= min && value <= max) return;
  throw createSqsError(
    'InvalidParameterValue',
    `Value ${value} for parameter ${parameter} is invalid. Reason: Must be between ${min} and ${max}, if provided.`,
  );
}

/** Creates an error as the SDK throws it. */
function createSqsError(name: string, message: string, httpStatusCode = 400): SQSServiceException {
  return new SQSServiceException({
    name,
    message,
    $fault: httpStatusCode >= 500 ? 'server' : 'client',
    $metadata: { httpStatusCode, attempts: 1 },
  });
}
