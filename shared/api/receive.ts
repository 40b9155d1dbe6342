import { getSenderPartition } from '../access/senders.ts';
import { type ErrorCode, LambentError } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { purposeOf } from '../jobs/index-entry.ts';
import { isTerminal } from '../jobs/job.ts';
import type { Bodies } from '../jobs/ports.ts';
import { type Submitted, sendTickets, type TicketPorts } from '../jobs/submit.ts';
import type { MessageAction } from '../lambda/message-pool.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type MessageContext, MessageRejectedError } from '../lambda/queue-pipeline.ts';
import { limitsQueue } from '../limits/queue-caps.ts';
import { type AdmissionPorts, authorizeSender, deleteInboxObject, readRequestBody, toJob } from './admit.ts';
import type { QueueLimits } from './queue-limits.ts';
import { deriveResponseId, type GenerateMessage, parseMessage } from './queue-message.ts';
import { rejectOnClientError } from './reject-on-client-error.ts';
import type { OpenStorageLimits } from './storage-limits.ts';
import { submitCounted } from './submit-counted.ts';
import { computeWaitMs } from './wait-for-limit.ts';

/** What receiving a message of the generation queue depends on. */
export interface ReceiverPorts extends AdmissionPorts, TicketPorts {
  readonly bodies: Bodies;
  /** Opens the limits of queued work, at the first message of a tenant that has some. */
  readonly openQueueLimits: () => Promise<QueueLimits>;
  readonly openStorageLimits: OpenStorageLimits;
}

/** What of a message's context receiving it uses. */
export interface ReceiveContext extends Pick<MessageContext, 'runAlone' | 'signal' | 'mayHide'> {
  readonly telemetry?: Telemetry | undefined;
}

const DELETE: MessageAction = { kind: 'delete' };

/** A message that was received this often is processed while nothing else is, because it may crash its process, unless it waits for a limit. */
const SUSPECT_RECEIVES = 3;
/** A message that was received this often and whose receives follow each other as crashes do is rejected. */
const MAX_CRASHES = 10;
/** After a crash a message is delivered again within this time, in milliseconds. Failures are followed by longer pauses. */
const CRASH_INTERVAL_MS = 120_000;

/**
 * Processes a message of the generation queue: creates the job of a request, once, and sends its ticket. The message is then
 * deleted.
 * @throws MessageRejectedError for a message that can never be processed or has waited too long for a limit, AWS errors that occur before the job exists, and the
 * signal's reason if the message's turn comes after the function's deadline
 */
export async function receive(
  record: QueueRecord,
  ports: ReceiverPorts,
  context: ReceiveContext,
): Promise<MessageAction> {
  const { runAlone, signal } = context;
  const received = Number(record.attributes.ApproximateReceiveCount);
  if (received >= MAX_CRASHES && crashes(record, received, ports)) {
    throw new MessageRejectedError(new LambentError('internal', 'The message has crashed its process repeatedly.'));
  }
  if (received < SUSPECT_RECEIVES || (await hasWaited(record, received, ports))) return process(record, ports, context);
  return runAlone(() => {
    // In an outage each message takes seconds. A function that times out would look like a crash of all that wait their turn.
    signal.throwIfAborted();
    return process(record, ports, context);
  });
}

/** Whether a limit made a message wait at its delivery before this one. Never throws: a message for which that isn't known is a suspect. */
async function hasWaited({ messageId }: QueueRecord, received: number, ports: ReceiverPorts): Promise<boolean> {
  try {
    return await (await ports.openQueueLimits()).hasWaited({ messageId, received });
  } catch (thrown) {
    ports.onError('waits for limits not read', thrown);
    return false;
  }
}

/** Whether a message's receives follow each other so closely that only crashes explain them. */
function crashes({ attributes }: QueueRecord, received: number, { now }: ReceiverPorts): boolean {
  const first = Number(attributes.ApproximateFirstReceiveTimestamp ?? 0);
  return now() - first < received * CRASH_INTERVAL_MS;
}

async function process(record: QueueRecord, ports: ReceiverPorts, context: ReceiveContext): Promise<MessageAction> {
  const message = rejectOnClientError(() => parseMessage(record.body));
  if (message.type === 'job') return replaceTicket(message, ports);
  // Anyone who may send to the queue can claim a tenant.
  context.telemetry?.logger.annotate({ claimedTenant: message.tenant });
  const caller = await authorizeSender(message, record, ports);
  context.telemetry?.logger.annotate({ claimedTenant: undefined, tenant: caller.tenant, keyId: caller.keyId });
  const body = await readRequestBody(message, ports);
  if (body === undefined) return receiveWithoutBody(message, ports);
  const admitted = toJob(message, body, caller, ports);
  const { generation } = admitted.input;
  const { telemetry } = context;
  const { senderLimits } = caller;
  const isRepeated = Number(record.attributes.ApproximateReceiveCount) > 1;
  let takeBack: (() => Promise<void>) | undefined;
  const tryToTakeBack = () => takeBack?.().catch((failed: unknown) => ports.onError('a message stays counted', failed));
  const enter = async (): Promise<void> => {
    const isQueueLimited = limitsQueue(caller.policy);
    if (senderLimits === undefined && !isQueueLimited) return;
    const limits = await ports.openQueueLimits();
    if (senderLimits !== undefined)
      takeBack = await limits.countMessage(getSenderPartition(record.attributes.SenderId), senderLimits, telemetry);
    if (isQueueLimited) await limits.enter({ admitted, caller, generation, telemetry, isRepeated });
  };
  const counted = { admitted, generation, registry: ports.registry, caller, telemetry, enter };
  const submitted = await submitCounted(counted, ports).catch(async (thrown: unknown) => {
    await tryToTakeBack();
    return waitForLimit(thrown, record, ports, context);
  });
  if (submitted.kind === 'hide') return submitted;
  // Only messages that become jobs count for their sender. One that is delivered again was counted the first time.
  if (submitted.kind !== 'created') await tryToTakeBack();
  if (submitted.kind === 'conflict') {
    throw new MessageRejectedError(
      new LambentError('idempotency_key_reused', 'This idempotency key was already used with a different body.', {
        param: 'idempotencyKey',
      }),
    );
  }
  // The object is deleted only now, because it was the only copy of the body until the job was submitted.
  await Promise.all([sendTicket(submitted, ports), deleteInboxObject(message, ports)]);
  return DELETE;
}

/**
 * Hides a message that a limit refuses, and notes that it waits.
 * @throws as `rejectFinally` and `computeWaitMs`
 */
async function waitForLimit(
  thrown: unknown,
  record: QueueRecord,
  ports: ReceiverPorts,
  context: ReceiveContext,
): Promise<Extract<MessageAction, { kind: 'hide' }>> {
  rejectFinally(thrown);
  const ms = computeWaitMs(thrown, record, context);
  const received = Number(record.attributes.ApproximateReceiveCount);
  if (received + 1 >= SUSPECT_RECEIVES) {
    const noting = ports
      .openQueueLimits()
      .then((limits) => limits.noteWait({ messageId: record.messageId, received }, ms));
    await noting.catch((failed: unknown) => ports.onError('a wait for a limit is not noted', failed));
  }
  return { kind: 'hide', ms };
}

/**
 * Rejects a message whose failure is final. An erased tenant never gets keys again, one whose external key can't be used was stopped on purpose, and one whose storage is full
 * may stay so longer than SQS keeps messages. Any other failure is followed by another delivery.
 */
function rejectFinally(thrown: unknown): void {
  if (thrown instanceof LambentError && FINAL.has(thrown.code)) throw new MessageRejectedError(thrown);
}

const FINAL: ReadonlySet<ErrorCode> = new Set(['tenant_deleted', 'external_key_unavailable', 'storage_limit_exceeded']);

/** Sends the ticket of a new job. Never throws: without a ticket the sweep sends one. */
async function sendTicket(submitted: Exclude<Submitted, { kind: 'conflict' }>, ports: ReceiverPorts): Promise<void> {
  if (submitted.kind !== 'created') return;
  await sendTickets([submitted.job], ports).catch((thrown: unknown) => ports.onError('ticket not sent', thrown));
}

/**
 * Sends the ticket of a job to which an earlier version's message points: also of one in progress, which would have no ticket
 * if its worker died. A job that this version has placed in the index has a ticket or gets one, so that no sender can
 * multiply the tickets of a job.
 * @throws LambentError `upstream_unavailable` if SQS does not accept the ticket
 */
async function replaceTicket(
  { tenant, id }: { readonly tenant: string; readonly id: string },
  ports: ReceiverPorts,
): Promise<MessageAction> {
  const job = await ports.jobs.read(tenant, id);
  if (job === undefined || isTerminal(job.status) || purposeOf(job) !== undefined) return DELETE;
  if ((await sendTickets([job], ports)) === 0) {
    throw new LambentError('upstream_unavailable', 'The ticket was not accepted.');
  }
  return DELETE;
}

/**
 * Processes a message whose inbox object doesn't exist. If its job exists or was deleted, the message is a duplicate;
 * otherwise it can never be processed.
 */
async function receiveWithoutBody(
  { tenant, idempotencyKey }: GenerateMessage,
  { jobs }: ReceiverPorts,
): Promise<MessageAction> {
  const id = deriveResponseId(tenant, idempotencyKey);
  if ((await jobs.read(tenant, id)) !== undefined || (await jobs.wasDeleted(tenant, id))) return DELETE;
  throw new MessageRejectedError(
    new LambentError('not_found', 'The object does not exist or is too large.', { param: 'bodyPointer' }),
  );
}
