import { findHold } from '../access/holds.ts';
import { checkModel } from '../access/model-permissions.ts';
import type { Policy } from '../access/policy.ts';
import type { PolicyTable, TenantPolicy } from '../access/policy-table.ts';
import type { Caller } from '../access/principal.ts';
import { mayStoreContent } from '../access/retention.ts';
import type { SenderTable } from '../access/sender-table.ts';
import { getSenderId, mayReplyTo, maySendFor, type SenderLimits } from '../access/senders.ts';
import { LambentError } from '../core/errors.ts';
import { parseJsonBody } from '../core/json-body.ts';
import { omitUndefined } from '../core/objects.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { checkEndpoint } from '../inference/served-endpoints.ts';
import { type Lifetime, timesOfQueued } from '../jobs/lifetime.ts';
import { laneOf } from '../jobs/queue-routing.ts';
import type { Admitted } from '../jobs/submit.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { MessageRejectedError } from '../lambda/queue-pipeline.ts';
import { findTries } from '../limits/queue-caps.ts';
import { listSchemaLimits } from '../limits/schema-limits.ts';
import { parseTenantPolicy, toJobCaller } from './job-caller.ts';
import { deriveResponseId, type GenerateMessage, getInboxKey } from './queue-message.ts';
import { parseQueuedRequest } from './queued-request.ts';
import { rejectOnClientError } from './reject-on-client-error.ts';

/** The dependencies of the functions that turn a message into a job. */
export interface AdmissionPorts {
  readonly senders: SenderTable;
  readonly policies: PolicyTable;
  readonly registry: ModelRegistry;
  readonly inbox: Inbox;
  /** URLs of reply queues, by the alias that `replyTo` uses. */
  readonly replyQueues: Readonly<Record<string, string>>;
  readonly lifetime: Lifetime;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  readonly onError: (message: string, thrown: unknown) => void;
}

/** For whom a sender's message is processed. */
export interface SenderCaller extends Caller {
  readonly keyId: string;
  readonly senderLimits?: SenderLimits;
}

/** The part of the bucket with the bodies of large messages. */
export interface Inbox {
  /** The name of the bucket. */
  readonly name: string;
  /** Returns undefined if the object doesn't exist or is too large. */
  readonly get: (key: string) => Promise<Uint8Array | undefined>;
  readonly remove: (key: string) => Promise<void>;
}

/**
 * Checks that the sender of a message may use its tenant and its reply queue, and that the queue exists.
 * @returns for whom the message's job will be run
 * @throws MessageRejectedError with `insufficient_permissions`, `key_held`, `project_archived` or `invalid_value`; any other error if the
 * access table can't be read, or has a policy that only a newer version enforces
 */
export async function authorizeSender(
  { tenant, replyTo }: GenerateMessage,
  record: QueueRecord,
  { senders, policies, replyQueues, now }: AdmissionPorts,
): Promise<SenderCaller> {
  const sender = await senders.find(record.attributes.SenderId, now());
  if (sender === undefined || !maySendFor(sender, tenant)) {
    throw new MessageRejectedError(
      new LambentError('insufficient_permissions', 'The sender is not allowed to use this tenant.', {
        param: 'tenant',
      }),
    );
  }
  if (replyTo !== undefined && !Object.hasOwn(replyQueues, replyTo)) {
    throw new MessageRejectedError(
      new LambentError('invalid_value', 'This reply queue does not exist.', { param: 'replyTo' }),
    );
  }
  if (replyTo !== undefined && !mayReplyTo(sender, replyTo)) {
    throw new MessageRejectedError(
      new LambentError('insufficient_permissions', 'The sender is not allowed to use this reply queue.', {
        param: 'replyTo',
      }),
    );
  }
  const { keyId, limits: senderLimits } = sender;
  const found = await policies.find(tenant);
  const policy = parseOrReject(found);
  // Two ids, because the service itself holds a `keyId`, and an administrator a sender.
  checkHolds(found, [keyId, getSenderId(record.attributes.SenderId)], now());
  if (policy.project?.readOnly)
    throw new MessageRejectedError(new LambentError('insufficient_permissions', 'The project only reads.'));
  return { tenant, keyId, policy, ...omitUndefined({ senderLimits }) };
}

/** @throws MessageRejectedError with `key_held` if one of the ids is held at `now` (epoch milliseconds) */
function checkHolds({ holds }: TenantPolicy, ids: readonly string[], now: number): void {
  if (!ids.some((id) => findHold(holds, id, now) !== undefined)) return;
  const message = 'The sender is held. An administrator of this service can release it.';
  throw new MessageRejectedError(new LambentError('key_held', message));
}

/** As `parseTenantPolicy`, but rejects messages for an archived project, which stays archived. */
function parseOrReject(found: TenantPolicy): Policy {
  try {
    return parseTenantPolicy(found);
  } catch (thrown) {
    const isArchived = thrown instanceof LambentError && thrown.code === 'project_archived';
    throw isArchived ? new MessageRejectedError(thrown) : thrown;
  }
}

/**
 * Reads the body of a request from its message or from the inbox object that the message points to. Adds the message's
 * metadata to a body without metadata.
 * @returns undefined if the object doesn't exist or is too large
 * @throws MessageRejectedError for a pointer outside the tenant's inbox or an object that isn't JSON; any other error
 * if the bucket can't be read
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
  return rejectOnClientError(() => parseJsonBody({ body: text, isBase64Encoded: false }, undefined));
}

/**
 * Returns the job to submit for a message and its body.
 * @throws MessageRejectedError for a body that the endpoint rejects, a model that the caller may not use, and for a response that would be neither stored
 * nor sent
 */
export function toJob(
  { tenant, endpoint, idempotencyKey, replyTo }: GenerateMessage,
  requestBody: unknown,
  caller: Caller & { readonly keyId: string },
  { registry, lifetime, now }: AdmissionPorts,
): Admitted {
  const request = rejectOnClientError(() => {
    const parsed = parseQueuedRequest(endpoint, requestBody, {
      registry,
      tenant,
      mayStore: mayStoreContent(caller.policy),
      schemaLimits: listSchemaLimits(caller.policy),
    });
    checkModel(caller.policy, parsed.generation.model);
    checkEndpoint(parsed.generation, registry);
    return parsed;
  });
  const { body, generation, rawInput, continuations, streamed, stored, context } = request;
  if (!stored && replyTo === undefined) {
    const message = "Missing field: 'replyTo'. The response is not stored, so it would be generated and discarded.";
    throw new MessageRejectedError(new LambentError('missing_required_parameter', message, { param: 'replyTo' }));
  }
  return {
    tenant,
    id: deriveResponseId(tenant, idempotencyKey),
    endpoint,
    tier: generation.serviceTier === 'flex' ? 'flex' : 'default',
    ...timesOfQueued(lifetime, now()),
    background: true,
    streamed,
    stored,
    input: {
      body,
      generation,
      continuations,
      idempotencyKey,
      caller: toJobCaller(caller),
      ...omitUndefined({ context, rawInput }),
    },
    ...omitUndefined({ lane: laneOf(generation.model, registry), replyTo, tries: findTries(caller.policy) }),
  };
}

/**
 * Deletes the inbox object of a message, if it has one. Never throws: the bucket's lifecycle rule deletes remaining
 * objects.
 */
export async function deleteInboxObject(message: GenerateMessage, { inbox, onError }: AdmissionPorts): Promise<void> {
  const key = getInboxKey(message, inbox.name);
  if (key === undefined) return;
  await inbox.remove(key).catch((thrown: unknown) => onError('an inbox object could not be deleted', thrown));
}
