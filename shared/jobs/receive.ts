import type { SenderTable } from '../access/sender-table.ts';
import { principalFor } from '../access/senders.ts';
import type { Registry } from '../inference/registry.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import { parseResponsesRequest } from '../openai/responses-request.ts';
import { parseBody } from '../runtime/body.ts';
import { LambentError } from '../runtime/errors.ts';
import { type QueueCall, Refused } from '../runtime/queue.ts';
import type { QueueRecord } from '../runtime/queue-event.ts';
import type { Job } from './job.ts';
import { type GenerateMessage, inboxKey, type JobPointer, parseMessage, responseIdOf } from './message.ts';
import { type Admitted, submit } from './submit.ts';
import { type Outcome, runJob, type WorkerPorts } from './worker.ts';

export interface ReceiverPorts extends WorkerPorts {
  readonly senders: SenderTable;
  readonly registry: Registry;
  /** Reads an object of the bucket; undefined when it isn't there. */
  readonly inbox: { readonly name: string; readonly get: (key: string) => Promise<Uint8Array | undefined> };
  /** Aliases that `replyTo` may name. */
  readonly replyQueues: Readonly<Record<string, string>>;
  /** Epoch milliseconds after which a job that is made at `now` expires, and is forgotten. */
  readonly lifetime: Lifetime;
}

export interface Lifetime {
  /** Milliseconds in which a job has to be answered. */
  readonly deadlineMs: number;
  /** Milliseconds for which it is kept. */
  readonly retentionMs: number;
}

/** Seconds after which a job is announced again whose table could not be reached. */
const TROUBLE_DELAY_SECONDS = 30;

/**
 * Serves one message of the generation queue: a pointer runs its job; a program's message becomes a job, once, and runs.
 * @throws Refused for a message that can't be understood or admitted; what AWS throws while it is no job yet
 */
export async function receive(record: QueueRecord, ports: ReceiverPorts, call: QueueCall): Promise<Outcome> {
  const message = refusing(() => parseMessage(record.body));
  return message.type === 'job' ? receivePointer(message, ports, call) : receiveRequest(message, record, ports, call);
}

/**
 * A pointer needs no sender: whoever forges one has a job looked at that would be looked at anyway. Its message is never
 * returned by failure, since the job has its own due time.
 */
async function receivePointer(pointer: JobPointer, ports: ReceiverPorts, call: QueueCall): Promise<Outcome> {
  try {
    return await run(pointer, ports, call);
  } catch (thrown) {
    ports.onError('a job could not be looked at', thrown);
    await ports.queue
      .send({ tenant: pointer.tenant, id: pointer.id }, TROUBLE_DELAY_SECONDS)
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
  const admitted = await admit(message, record, ports);
  const submitted = await submit(admitted, ports);
  switch (submitted.kind) {
    case 'deleted':
      return { kind: 'refused', status: 'absent' };
    case 'conflict':
      throw new Refused(
        new LambentError('idempotency_key_reused', 'The idempotency key was used with another body before.', {
          param: 'idempotencyKey',
        }),
      );
    case 'created':
      return receiveKnown(submitted.job, ports, call, admitted);
    case 'known':
      return receiveKnown(submitted.job, ports, call);
  }
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

function run(pointer: Pick<Job, 'tenant' | 'id'>, ports: ReceiverPorts, call: QueueCall, admitted?: Admitted) {
  const { signal: shutdown, deadlineAt, extendVisibility } = call;
  return runJob(pointer, ports, { shutdown, deadlineAt, extendVisibility }, admitted?.input);
}

/** Lets a program's message in: its sender may speak for the tenant, and what it asks for is right. */
async function admit(message: GenerateMessage, record: QueueRecord, ports: ReceiverPorts): Promise<Admitted> {
  const { senders, registry, replyQueues, lifetime, now } = ports;
  const { tenant, endpoint, idempotencyKey, replyTo } = message;
  const principal = principalFor(await senders.find(record.attributes.SenderId, now()), tenant);
  if (!principal?.scopes.includes('inference')) {
    throw new Refused(
      new LambentError('insufficient_permissions', 'The sender may not use this tenant.', { param: 'tenant' }),
    );
  }
  if (replyTo !== undefined && !Object.hasOwn(replyQueues, replyTo)) {
    throw new Refused(new LambentError('invalid_value', 'No such reply queue.', { param: 'replyTo' }));
  }
  const body = await bodyOf(message, ports);
  const asked = refusing(() => understood(endpoint, body, { registry, tenant }));
  return {
    tenant,
    id: responseIdOf(tenant, idempotencyKey),
    endpoint,
    tier: asked.generation.serviceTier === 'flex' ? 'flex' : 'default',
    deadline: now() + lifetime.deadlineMs,
    expiresAt: Math.ceil((now() + lifetime.deadlineMs + lifetime.retentionMs) / 1000),
    background: true,
    streamed: asked.streamed,
    stored: asked.stored,
    input: {
      body: asked.body,
      generation: asked.generation,
      continuations: asked.continuations,
      idempotencyKey,
    },
    ...(replyTo === undefined ? {} : { replyTo }),
  };
}

function understood(endpoint: Job['endpoint'], body: unknown, context: { registry: Registry; tenant: string }) {
  if (endpoint === '/v1/chat/completions') {
    const { generation } = parseChatRequest(body, context);
    // A completion has no stream that could be resumed, and nothing but its job to be found by.
    return { body, generation, streamed: false, stored: true, continuations: false };
  }
  const { generation, streamed, includeContinuations, body: asked } = parseResponsesRequest(body, context);
  for (const param of ['conversation', 'previous_response_id'] as const) {
    if (asked[param] == null) continue;
    throw new LambentError('unsupported_parameter', `'${param}' is not supported in messages.`, { param });
  }
  return {
    body: asked,
    generation,
    streamed,
    stored: asked.store ?? true,
    continuations: includeContinuations,
  };
}

/** The body, with the message's metadata where it has none of its own. */
async function bodyOf(message: GenerateMessage, { inbox }: ReceiverPorts): Promise<unknown> {
  const key = refusing(() => inboxKey(message, inbox.name));
  const body = key === undefined ? message.body : await bodyAt(key, inbox.get);
  const { metadata } = message;
  return metadata === undefined || typeof body !== 'object' || body === null ? body : { metadata, ...body };
}

async function bodyAt(key: string, get: ReceiverPorts['inbox']['get']): Promise<unknown> {
  const bytes = await get(key);
  return refusing(() => {
    if (bytes !== undefined)
      return parseBody({ body: Buffer.from(bytes).toString('utf8'), isBase64Encoded: false }, undefined);
    throw new LambentError('not_found', 'There is no object of this key, or it is too large.', {
      param: 'bodyPointer',
    });
  });
}

/** Runs what judges a message: what it can't accept is the message's fault. */
function refusing<T>(judge: () => T): T {
  try {
    return judge();
  } catch (thrown) {
    throw thrown instanceof LambentError ? new Refused(thrown) : thrown;
  }
}
