import type { SenderTable } from '../access/sender-table.ts';
import { principalFor } from '../access/senders.ts';
import { LambentError } from '../core/errors.ts';
import { parseBody } from '../core/json-body.ts';
import { definedProps } from '../core/objects.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { type Lifetime, timesOfQueued } from '../jobs/lifetime.ts';
import { laneOf } from '../jobs/queue-routing.ts';
import type { Admitted } from '../jobs/submit.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { Refused } from '../lambda/queue-pipeline.ts';
import { deriveResponseId, type GenerateMessage, getInboxKey } from './queue-message.ts';
import { parseQueuedRequest } from './queued-request.ts';
import { rejectOnClientError } from './reject-on-client-error.ts';

/** What decides whether a message becomes a job. */
export interface AdmissionPorts {
  readonly senders: SenderTable;
  readonly registry: ModelRegistry;
  readonly inbox: Inbox;
  /** URLs of the queues that `replyTo` may name, by their aliases. */
  readonly replyQueues: Readonly<Record<string, string>>;
  readonly lifetime: Lifetime;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly onError: (what: string, thrown: unknown) => void;
}

/** The bucket that holds the bodies of large messages. */
export interface Inbox {
  readonly name: string;
  /** Undefined if there is no object of this key, or it is too large. */
  readonly get: (key: string) => Promise<Uint8Array | undefined>;
  readonly remove: (key: string) => Promise<void>;
}

/**
 * Checks that the sender of a message may use its tenant, and that its reply queue exists.
 * @throws Refused with `insufficient_permissions` or `invalid_value`; Error when the access table can't be read
 */
export async function authorizeSender(
  { tenant, replyTo }: GenerateMessage,
  record: QueueRecord,
  { senders, replyQueues, now }: AdmissionPorts,
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

/**
 * Reads the body of a request: from its message, or from the inbox object that the message points to. The message's metadata goes
 * into a body that has none.
 * @returns undefined if there is no such object, or it is too large
 * @throws Refused for a pointer out of the tenant's inbox, or an object that isn't JSON; Error when the bucket can't be read
 */
export async function readRequestBody(message: GenerateMessage, { inbox }: AdmissionPorts): Promise<unknown> {
  const key = rejectOnClientError(() => getInboxKey(message, inbox.name));
  const body = key === undefined ? message.body : await readInboxObject(key, inbox);
  const { metadata } = message;
  return metadata === undefined || typeof body !== 'object' || body === null ? body : { metadata, ...body };
}

async function readInboxObject(key: string, inbox: Inbox): Promise<unknown> {
  const bytes = await inbox.get(key);
  if (bytes === undefined) return undefined;
  const text = Buffer.from(bytes).toString('utf8');
  return rejectOnClientError(() => parseBody({ body: text, isBase64Encoded: false }, undefined));
}

/**
 * Turns a message and its body into a job to submit.
 * @throws Refused for a body that its endpoint doesn't accept
 */
export function toJob(
  { tenant, endpoint, idempotencyKey, replyTo }: GenerateMessage,
  requestBody: unknown,
  { registry, lifetime, now }: AdmissionPorts,
): Admitted {
  const request = rejectOnClientError(() => parseQueuedRequest(endpoint, requestBody, { registry, tenant }));
  const { body, generation, continuations, streamed, stored } = request;
  return {
    tenant,
    id: deriveResponseId(tenant, idempotencyKey),
    endpoint,
    tier: generation.serviceTier === 'flex' ? 'flex' : 'default',
    ...timesOfQueued(lifetime, now()),
    background: true,
    streamed,
    stored,
    input: { body, generation, continuations, idempotencyKey },
    ...definedProps({ lane: laneOf(generation.model, registry), replyTo }),
  };
}

/** Deletes the inbox object of a message, if it has one. The bucket's lifecycle rule deletes those that remain, weeks later. */
export async function deleteInboxObject(message: GenerateMessage, { inbox, onError }: AdmissionPorts): Promise<void> {
  const key = getInboxKey(message, inbox.name);
  if (key === undefined) return;
  await inbox.remove(key).catch((thrown: unknown) => onError('an inbox object could not be deleted', thrown));
}
