import type { SenderTable } from '../access/sender-table.ts';
import { principalFor } from '../access/senders.ts';
import { LambentError } from '../core/errors.ts';
import { parseBody } from '../core/json-body.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { Job, Lane } from '../jobs/job.ts';
import { type Lifetime, timesOfQueued } from '../jobs/lifetime.ts';
import type { JobPointer } from '../jobs/pointer-message.ts';
import { laneOf } from '../jobs/queue-routing.ts';
import { type Admitted, announce, type Submitted, submit } from '../jobs/submit.ts';
import { type Outcome, runJob, type WorkerPorts } from '../jobs/worker.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type QueueCall, Refused } from '../lambda/queue-pipeline.ts';
import { type GenerateMessage, inboxKey, parseMessage, responseIdOf, tierOf } from './queue-message.ts';
import { parseQueuedRequest } from './queued-request.ts';

export interface ReceiverPorts extends WorkerPorts {
  readonly senders: SenderTable;
  readonly registry: ModelRegistry;
  readonly inbox: Inbox;
  /** Aliases that `replyTo` may name. */
  readonly replyQueues: Readonly<Record<string, string>>;
  readonly lifetime: Lifetime;
}

/** The bucket that bodies of large messages are left in. */
export interface Inbox {
  readonly name: string;
  /** Undefined when there is no object of this key, or it is too large. */
  readonly get: (key: string) => Promise<Uint8Array | undefined>;
  readonly remove: (key: string) => Promise<void>;
}

/**
 * Serves one message of the generation queue: a pointer runs its job; a program's message becomes a job, once, and runs.
 * @throws Refused for a message that can't be understood or admitted; what AWS throws while it is no job yet
 */
export async function receive(record: QueueRecord, ports: ReceiverPorts, call: QueueCall): Promise<Outcome> {
  const message = refusing(() => parseMessage(record.body));
  noteWait(message, record, ports);
  return message.type === 'job' ? receivePointer(message, ports, call) : receiveRequest(message, record, ports, call);
}

/**
 * Serves one message of a lane's queue, which holds pointers alone: only Lambent sends there.
 * @throws Refused for anything else
 */
export async function receiveOnLane(
  lane: Lane,
  record: QueueRecord,
  ports: WorkerPorts,
  call: QueueCall,
): Promise<Outcome> {
  const message = refusing(() => parseMessage(record.body));
  noteWait(message, record, ports);
  if (message.type === 'job') return receivePointer({ ...message, lane }, ports, call);
  throw new Refused(
    new LambentError('unsupported_value', 'Requests go to the generation queue, whatever model they ask for.', {
      param: 'type',
    }),
  );
}

/** Tells whoever yields how long a message has waited. One that comes again has not waited for its turn, but been held. */
function noteWait(
  message: GenerateMessage | JobPointer,
  { attributes: { SentTimestamp: sentAt, ApproximateReceiveCount: received } }: QueueRecord,
  { yielding, now }: WorkerPorts,
): void {
  const tier = tierOf(message);
  if (tier === undefined || sentAt === undefined || received !== '1') return;
  const delaySeconds = message.type === 'job' ? (message.delaySeconds ?? 0) : 0;
  yielding?.saw(tier, now() - Number(sentAt) - delaySeconds * 1_000);
}

/**
 * A pointer needs no sender: whoever forges one has a job looked at that would be looked at anyway. Its message is never
 * returned by failure, since the job has its own due time.
 */
async function receivePointer(
  pointer: JobPointer & Pick<Job, 'lane'>,
  ports: WorkerPorts,
  call: QueueCall,
): Promise<Outcome> {
  try {
    return await run(pointer, ports, call);
  } catch (thrown) {
    ports.onError('a job could not be looked at', thrown);
    await ports.queue
      .send(pointer, Math.ceil(ports.timings.unreachableMs / 1000))
      .catch((failure: unknown) => ports.onError('a job could not be announced', failure));
    return { kind: 'refused', status: 'absent' };
  }
}

async function receiveRequest(
  message: GenerateMessage,
  record: QueueRecord,
  ports: ReceiverPorts,
  call: QueueCall,
): Promise<Outcome> {
  await permit(message, record, ports);
  const body = await bodyOf(message, ports);
  if (body === undefined) return receiveBodiless(message, ports, call);
  const admitted = admit(message, body, ports);
  const submitted = await submit(admitted, ports);
  if (submitted.kind === 'conflict') {
    throw new Refused(
      new LambentError('idempotency_key_reused', 'The idempotency key was used with another body before.', {
        param: 'idempotencyKey',
      }),
    );
  }
  // Not before: until now it was the only copy.
  const [outcome] = await Promise.all([receiveSubmitted(submitted, admitted, ports, call), emptyInbox(message, ports)]);
  return outcome;
}

async function receiveSubmitted(
  submitted: Exclude<Submitted, { kind: 'conflict' }>,
  admitted: Admitted,
  ports: ReceiverPorts,
  call: QueueCall,
): Promise<Outcome> {
  if (submitted.kind === 'deleted') return TOO_LATE;
  if (submitted.kind === 'created' && ports.otherLane?.(submitted.job.model) !== undefined) {
    return forwarded(submitted.job, ports);
  }
  return receiveKnown(submitted.job, ports, call, submitted.kind === 'created' ? admitted : undefined);
}

/** A new job of another lane is only announced there. */
async function forwarded(job: Job, ports: ReceiverPorts): Promise<Outcome> {
  await announce(job, ports).catch((thrown: unknown) => ports.onError('a job could not be announced', thrown));
  return { kind: 'forwarded', job };
}

const TOO_LATE: Outcome = { kind: 'refused', status: 'absent' };

/** A message whose object is gone comes again when there is, or was, a job made of it; another can't be served. */
async function receiveBodiless(
  { tenant, idempotencyKey }: GenerateMessage,
  ports: ReceiverPorts,
  call: QueueCall,
): Promise<Outcome> {
  const id = responseIdOf(tenant, idempotencyKey);
  const job = await ports.jobs.read(tenant, id);
  if (job !== undefined) return receiveKnown(job, ports, call);
  if (await ports.jobs.wasDeleted(tenant, id)) return TOO_LATE;
  throw new Refused(
    new LambentError('not_found', 'There is no object of this key, or it is too large.', { param: 'bodyPointer' }),
  );
}

/** Removes the object that a message pointed to. One that stays is removed by the bucket's own rule, some weeks later. */
async function emptyInbox(message: GenerateMessage, { inbox, onError }: ReceiverPorts): Promise<void> {
  const key = inboxKey(message, inbox.name);
  if (key === undefined) return;
  await inbox.remove(key).catch((thrown: unknown) => onError('an inbox object could not be removed', thrown));
}

/** From here on it is a job: what fails is not the message. */
async function receiveKnown(
  { tenant, id }: Job,
  ports: ReceiverPorts,
  call: QueueCall,
  admitted?: Admitted,
): Promise<Outcome> {
  try {
    return await run({ tenant, id }, ports, call, admitted);
  } catch (thrown) {
    ports.onError('a job could not be looked at', thrown);
    return { kind: 'refused', status: 'queued' };
  }
}

function run(pointer: Pick<Job, 'tenant' | 'id'>, ports: WorkerPorts, call: QueueCall, admitted?: Admitted) {
  const { signal: shutdown, deadlineAt, extendVisibility, telemetry } = call;
  return runJob(pointer, ports, { shutdown, deadlineAt, extendVisibility, telemetry }, admitted?.input);
}

/** Lets a program's message in: its sender may speak for the tenant, and have the answer sent where it wants it. */
async function permit(
  { tenant, replyTo }: GenerateMessage,
  record: QueueRecord,
  { senders, replyQueues, now }: ReceiverPorts,
): Promise<void> {
  const principal = principalFor(await senders.find(record.attributes.SenderId, now()), tenant);
  if (!principal?.scopes.includes('inference')) {
    throw new Refused(
      new LambentError('insufficient_permissions', 'The sender may not use this tenant.', { param: 'tenant' }),
    );
  }
  if (replyTo !== undefined && !Object.hasOwn(replyQueues, replyTo)) {
    throw new Refused(new LambentError('invalid_value', 'No such reply queue.', { param: 'replyTo' }));
  }
}

/** What is asked for becomes a job if it is right. */
function admit(
  { tenant, endpoint, idempotencyKey, replyTo }: GenerateMessage,
  body: unknown,
  { registry, lifetime, now }: ReceiverPorts,
): Admitted {
  const asked = refusing(() => parseQueuedRequest(endpoint, body, { registry, tenant }));
  const lane = laneOf(asked.generation.model, registry);
  return {
    tenant,
    id: responseIdOf(tenant, idempotencyKey),
    endpoint,
    tier: asked.generation.serviceTier === 'flex' ? 'flex' : 'default',
    ...timesOfQueued(lifetime, now()),
    background: true,
    streamed: asked.streamed,
    stored: asked.stored,
    input: {
      body: asked.body,
      generation: asked.generation,
      continuations: asked.continuations,
      idempotencyKey,
    },
    ...(lane === undefined ? {} : { lane }),
    ...(replyTo === undefined ? {} : { replyTo }),
  };
}

/** The body, with the message's metadata where it has none of its own; undefined when its object isn't there. */
async function bodyOf(message: GenerateMessage, { inbox }: ReceiverPorts): Promise<unknown> {
  const key = refusing(() => inboxKey(message, inbox.name));
  const body = key === undefined ? message.body : await bodyAt(key, inbox.get);
  const { metadata } = message;
  return metadata === undefined || typeof body !== 'object' || body === null ? body : { metadata, ...body };
}

async function bodyAt(key: string, get: Inbox['get']): Promise<unknown> {
  const bytes = await get(key);
  if (bytes === undefined) return undefined;
  return refusing(() => parseBody({ body: Buffer.from(bytes).toString('utf8'), isBase64Encoded: false }, undefined));
}

/** Runs what judges a message: what it can't accept is the message's fault. */
function refusing<T>(judge: () => T): T {
  try {
    return judge();
  } catch (thrown) {
    throw thrown instanceof LambentError ? new Refused(thrown) : thrown;
  }
}
