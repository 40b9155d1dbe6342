import * as v from 'valibot';
import { hasExpired, ORGANIZATION } from '../access/principal.ts';
import { getPrincipalKind } from '../access/principal-kind.ts';
import type { HttpRequest } from '../access/route.ts';
import { TENANT_SCOPES } from '../access/scopes.ts';
import { getSenderId, type SenderRecord } from '../access/senders.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { arrayOf, integer, object, string, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  getPathParameter,
  listObjects,
  requireScope,
} from './admin-routes.ts';
import { computeExpiry, expiresInSeconds, parseScopes, scopeNames } from './key-fields.ts';
import { createCollection, objectNotFoundError } from './object-table.ts';
import { findActiveProject } from './projects.ts';
import { createSenderItems, type StoredSender } from './sender-items.ts';

/**
 * What lists a sender. All else that the API shows is read from the access table, because operators write senders by hand, too, and
 * `npm run tenant -- erase` changes them.
 */
const listedSchema = v.object({ id: v.string(), createdAt: v.number() });

const name = v.optional(text({ min: 1, max: 256 }));
const projectIds = arrayOf(string, 'strings', { min: 1, max: 100 });
const replyQueues = v.optional(arrayOf(string, 'strings', { max: 100 }));
const messages = v.optional(v.nullable(integer(0, 1_000_000_000)));
const fields = {
  name,
  scopes: scopeNames,
  reply_queues: replyQueues,
  messages_per_minute: messages,
  messages_per_day: messages,
  expires_in_seconds: expiresInSeconds,
};
const createBody = object({ id: text({ min: 1, max: 256 }), project_ids: projectIds, ...fields });
const updateBody = object({ project_ids: v.optional(projectIds), ...fields });
type Changes = v.InferOutput<typeof updateBody>;

const ATTEMPTS = 8;

/** Creates the routes of senders, which OpenAI's API doesn't have: AWS identities that may send to the generation queue. */
export function createSenderRoutes(api: AdminApi) {
  const items = createSenderItems(api.access);
  const listed = createCollection(api.table, { type: 'sender', schema: listedSchema });

  const getId = (request: HttpRequest) => getSenderId(getPathParameter(request, 'sender'));

  /** Checks the ids of projects, except those that a sender has already. @throws LambentError as `findActiveProject` */
  const checkProjects = async (ids: readonly string[], known: readonly string[]): Promise<void> => {
    for (const id of ids) if (!known.includes(id)) await findActiveProject(api, id);
  };

  /** Checks the aliases of reply queues, except those that a sender has already. @throws LambentError `invalid_value` */
  const checkReplyQueues = (aliases: readonly string[], known: readonly string[]): void => {
    const index = aliases.findIndex((alias) => ![...known, ...api.replyQueues, '*'].includes(alias));
    if (index < 0) return;
    const param = `reply_queues[${index}]`;
    const allowed = ['*', ...api.replyQueues].join(', ');
    throw invalidValueError(
      param,
      `Invalid '${param}': it is not the alias of a reply queue of this deployment. Allowed are: ${allowed}.`,
    );
  };

  /** Returns a sender with what a request changes of it. @throws LambentError if the request isn't valid */
  const apply = async (sender: SenderRecord, body: Changes): Promise<SenderRecord> => {
    const { name, project_ids: projects, scopes, reply_queues: queues, expires_in_seconds: lifetime } = body;
    await checkProjects(projects ?? [], sender.tenants);
    checkReplyQueues(queues ?? [], sender.replyQueues);
    const limits = omitUndefined({
      messagesPerMinute: chooseLimit(body.messages_per_minute, sender.limits?.messagesPerMinute),
      messagesPerDay: chooseLimit(body.messages_per_day, sender.limits?.messagesPerDay),
    });
    const expiresAt = lifetime === undefined ? sender.expiresAt : (computeExpiry(lifetime, api.now()) ?? undefined);
    const { keyId, createdAt } = sender;
    return {
      keyId,
      ...omitUndefined({ name: name ?? sender.name, createdAt, expiresAt }),
      tenants: [...new Set(projects ?? sender.tenants)],
      scopes: scopes === undefined ? sender.scopes : parseSenderScopes(scopes),
      replyQueues: [...new Set(queues ?? sender.replyQueues)],
      ...(Object.keys(limits).length > 0 && { limits }),
    };
  };

  /** Changes a sender, and returns it before and after. Repeats both if another request wrote it meanwhile. */
  const update = async (id: string, body: Changes) => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const stored = await items.read(id);
      if (stored === undefined) throw objectNotFoundError('sender', id);
      const { record: before } = stored;
      if (before === undefined)
        throw new LambentError(
          'invalid_value',
          `The entry of the sender ${id} in the access table is invalid. Delete the sender and create it again.`,
        );
      const after = await apply(before, body);
      if (await items.replace(id, stored, after)) return { before, after };
    }
    throw new LambentError('overloaded', `Other requests kept changing the sender ${id}.`);
  };

  /** Encodes a sender that is listed. Its item may be gone. */
  const encodeListed = async ({ id, createdAt }: v.InferOutput<typeof listedSchema>) => {
    const stored = await items.read(id);
    return stored === undefined ? encodeUnknown(id, 'removed', createdAt) : encodeSender(id, stored, api.now());
  };

  return {
    'GET /v1/organization/senders': createAdminRoute((request) =>
      listObjects(request, listed, ORGANIZATION, encodeListed),
    ),

    'POST /v1/organization/senders': createBodyRoute(createBody, async (request, body) => {
      const id = getSenderId(body.id);
      if (getPrincipalKind(id) !== 'sender')
        throw invalidValueError(
          'id',
          "Invalid 'id': Expected the unique id of a user (AIDA…) or role (AROA…), or the id of an account (12 digits).",
        );
      const createdAt = Math.floor(api.now() / 1000);
      const fresh = { keyId: id, createdAt, tenants: [], scopes: parseSenderScopes(['generate']), replyQueues: [] };
      const record = await apply(fresh, body);
      if ((await items.read(id)) !== undefined) throw createExistsError(id);
      // What lets it send comes last.
      await listed.create(ORGANIZATION, { id, createdAt });
      if (!(await items.create(id, record))) throw createExistsError(id);
      const details = { data: describe(record) };
      logAct(request.telemetry, { type: 'sender.created', objectId: id, details });
      return encodeRecord(id, record, api.now());
    }),

    'GET /v1/organization/senders/{sender}': createAdminRoute(async (request) => {
      const id = getId(request);
      const stored = await items.read(id);
      return stored === undefined
        ? encodeListed(await listed.get(ORGANIZATION, id))
        : encodeSender(id, stored, api.now());
    }),

    'POST /v1/organization/senders/{sender}': createBodyRoute(updateBody, async (request, body) => {
      if (body.messages_per_minute !== undefined || body.messages_per_day !== undefined)
        requireScope(request, 'admin.limits.write');
      const id = getId(request);
      const { before, after } = await update(id, body);
      // One that was written by hand is listed from now on.
      await listed.create(ORGANIZATION, { id, createdAt: Math.floor(api.now() / 1000) });
      const details = { changes_requested: describe(after), previous: describe(before) };
      logAct(request.telemetry, { type: 'sender.updated', objectId: id, details });
      return encodeRecord(id, after, api.now());
    }),

    'DELETE /v1/organization/senders/{sender}': createAdminRoute(async (request) => {
      const id = getId(request);
      const wasAllowed = await items.delete(id);
      const wasListed = await listed.delete(ORGANIZATION, id);
      if (!wasAllowed && !wasListed) throw objectNotFoundError('sender', id);
      logAct(request.telemetry, { type: 'sender.deleted', objectId: id });
      return { id, object: 'organization.sender.deleted' as const, deleted: true };
    }),
  };
}

/** @throws LambentError `invalid_value` for an unknown scope, and without the one that each message needs */
function parseSenderScopes(names: readonly string[]): readonly string[] {
  const scopes = parseScopes(names, TENANT_SCOPES);
  if (scopes.includes('generate')) return scopes;
  throw invalidValueError('scopes', "Invalid 'scopes': without the scope generate, no message would be accepted.");
}

/** Null removes a limit, and undefined keeps it. */
function chooseLimit(wanted: number | null | undefined, present: number | undefined): number | undefined {
  return wanted === undefined ? present : (wanted ?? undefined);
}

function createExistsError(id: string): LambentError {
  return invalidValueError('id', `Invalid 'id': there is a sender with the id ${id} already. Update or delete it.`);
}

function encodeSender(id: string, { record }: StoredSender, now: number) {
  // Intake rejects its messages.
  return record === undefined ? encodeUnknown(id, 'unreadable', null) : encodeRecord(id, record, now);
}

function encodeRecord(id: string, record: SenderRecord, now: number) {
  const { name, keyId, createdAt } = record;
  const { name: _, ...described } = describe(record);
  return {
    id,
    object: 'organization.sender' as const,
    name: name ?? keyId,
    key_id: keyId,
    status: hasExpired(record, now) ? 'expired' : 'active',
    created_at: createdAt ?? null,
    ...described,
  };
}

/** Returns the fields of a sender that requests set. */
function describe({ name, keyId, tenants, scopes, replyQueues, limits, expiresAt }: SenderRecord) {
  return {
    name: name ?? keyId,
    project_ids: tenants,
    scopes,
    reply_queues: replyQueues,
    messages_per_minute: limits?.messagesPerMinute ?? null,
    messages_per_day: limits?.messagesPerDay ?? null,
    expires_at: expiresAt ?? null,
  };
}

/** Encodes a sender of which only the id is known. */
function encodeUnknown(id: string, status: 'removed' | 'unreadable', createdAt: number | null) {
  return {
    id,
    object: 'organization.sender' as const,
    ...{ name: null, key_id: null, status, created_at: createdAt },
    ...{ project_ids: null, scopes: null, reply_queues: null },
    ...{ messages_per_minute: null, messages_per_day: null, expires_at: null },
  };
}
