import * as v from 'valibot';
import { requireStorage } from '../access/retention.ts';
import type { HttpRequest, Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { isObject } from '../core/objects.ts';
import { resultDeletedError } from '../idempotency/idempotency-errors.ts';
import type { Reference } from '../idempotency/replay.ts';
import { createConversationBody, createItemsBody, updateConversationBody } from '../openai/conversations/schema.ts';
import { encodeList, parseListQuery } from '../openai/lists.ts';
import { applyIncludes, type Includes, parseIncludes } from '../openai/responses/includes.ts';
import { type InputItem, isItemReference, rejectDuplicateIds, rejectUnknownItems } from '../openai/responses/items.ts';
import { itemNotFoundError } from '../openai/responses/request.ts';
import { createItemIdGenerator, isLambentId, toStoredItem } from '../openai/responses/stored-items.ts';
import { storedId } from '../openai/schema.ts';
import { missingParameterError, validate } from '../openai/validation.ts';
import type { ConversationKey } from '../sessions/conversation-records.ts';
import type { Conversation, ConversationItem, Conversations, EarlierItems } from '../sessions/conversations.ts';
import { conversationNotFoundError } from '../sessions/session-errors.ts';
import { type OpenStorageLimits, type ReservedStorage, reserveStorage } from './storage-limits.ts';
import { measureSealed } from './stored-size.ts';
import { addContinuation, parseTurnItem, type TurnItem } from './turn-items.ts';

/** The dependencies of the conversation routes. */
export interface ConversationsApi {
  readonly conversations: Conversations;
  readonly openStorageLimits: OpenStorageLimits;
  /** Generates the unique part of an id: 24 to 64 hexadecimal digits. Default: `newId`. */
  readonly ids?: () => string;
}

/** Creates the route `POST /v1/conversations`. */
export function createConversationRoute({ conversations, openStorageLimits, ids = newId }: ConversationsApi): Route {
  return {
    bodyOptional: true,
    async run(request) {
      const { body, principal, operation } = request;
      requireStorage(principal.policy, 'Conversations');
      const { items, metadata } = validate(createConversationBody, body ?? {});
      rejectUnknownItems(items ?? [], 'items');
      const key = { tenant: principal.tenant, id: `conv_${operation?.id ?? ids()}` };
      const earlier = operation?.isRepeated ? await findConversation(conversations, key) : undefined;
      if (earlier !== undefined) return { json: encodeConversation(earlier) };
      const added = toConversationItems(items ?? [], createItemIds(operation, ids));
      const reserved = await reserveItems({ conversations, openStorageLimits }, request, added, 1);
      const created = await conversations.create(key, { ...metadata }, added, reserved?.expiresAt);
      return { json: encodeConversation(created) };
    },
  };
}

/**
 * Describes how `POST /v1/conversations` is replayed for an idempotency key: with the current state of the conversation
 * that the first request created.
 */
export function conversationReference({ conversations }: ConversationsApi): Reference {
  return {
    idsOf: (json) => collectIds([json]),
    show: async ({ principal }, [id = '']) =>
      encodeConversation(await conversations.retrieve({ tenant: principal.tenant, id })),
  };
}

/** Creates the route `GET /v1/conversations/{id}`. */
export function retrieveConversationRoute({ conversations }: ConversationsApi): Route {
  return {
    run: async (request) => ({ json: encodeConversation(await conversations.retrieve(getConversationKey(request))) }),
  };
}

/** Creates the route `POST /v1/conversations/{id}`. */
export function updateConversationRoute({ conversations }: ConversationsApi): Route {
  return {
    async run(request) {
      requireStorage(request.principal.policy, 'Conversations');
      const { metadata } = validate(updateConversationBody, request.body);
      if (metadata === undefined) throw missingParameterError('metadata');
      return { json: encodeConversation(await conversations.update(getConversationKey(request), { ...metadata })) };
    },
  };
}

/** Creates the route `DELETE /v1/conversations/{id}`. Also deletes the conversation's items. */
export function deleteConversationRoute({ conversations }: ConversationsApi): Route {
  return {
    async run(request) {
      const key = getConversationKey(request);
      await conversations.delete(key);
      return { json: { id: key.id, object: 'conversation.deleted', deleted: true } };
    },
  };
}

/** Creates the route `POST /v1/conversations/{id}/items`. */
export function createItemsRoute({ conversations, openStorageLimits, ids = newId }: ConversationsApi): Route {
  return {
    async run(request) {
      requireStorage(request.principal.policy, 'Items');
      const { items } = validate(createItemsBody, request.body);
      rejectUnknownItems(items, 'items');
      const included = parseIncludes(request.query);
      const { operation } = request;
      const turn = await conversations.beginTurn(getConversationKey(request), `items_${operation?.id ?? ids()}`);
      try {
        const added = toConversationItems(items, createItemIds(operation, ids));
        const earlier = operation?.isRepeated ? await findItems(added, turn.earlier) : [];
        if (earlier.length > 0) {
          if (earlier.length < added.length) throw resultDeletedError();
          return { json: encodeItems(earlier, false, included) };
        }
        // Other ids are replaced, so that no item of the conversation has them.
        const callerIds = items.flatMap(({ id }) => (typeof id === 'string' && isLambentId(id) ? [id] : []));
        rejectDuplicateIds(items, 'items', await turn.earlier.findIds(callerIds));
        const reserved = await reserveItems({ conversations, openStorageLimits }, request, added, 0);
        await turn.commit(added, reserved?.expiresAt);
        return { json: encodeItems(added, false, included) };
      } finally {
        await turn.release();
      }
    },
  };
}

/**
 * Describes how `POST /v1/conversations/{id}/items` is replayed for an idempotency key: with the items that the first
 * request created. `show` throws `not_found` if one of them was deleted.
 */
export function itemsReference({ conversations }: ConversationsApi): Reference {
  return {
    idsOf: (json) => collectIds(isObject(json) ? json['data'] : undefined),
    async show(request, ids) {
      const included = parseIncludes(request.query);
      const items = await Promise.all(ids.map((id) => conversations.retrieveItem(getConversationKey(request), id)));
      return encodeItems(items, false, included);
    },
  };
}

/** Creates the route `GET /v1/conversations/{id}/items`. */
export function listItemsRoute({ conversations }: ConversationsApi): Route {
  return {
    async run(request) {
      const included = parseIncludes(request.query);
      const { items, hasMore } = await conversations.list(getConversationKey(request), parseListQuery(request.query));
      return {
        json: encodeItems(items, hasMore, included),
      };
    },
  };
}

/** Creates the route `GET /v1/conversations/{id}/items/{item}`. */
export function retrieveItemRoute({ conversations }: ConversationsApi): Route {
  return {
    async run(request) {
      const included = parseIncludes(request.query);
      const item = await conversations.retrieveItem(getConversationKey(request), request.pathParameters['item'] ?? '');
      return { json: encodeItem(item, included) };
    },
  };
}

/** Creates the route `DELETE /v1/conversations/{id}/items/{item}`. Returns the conversation. */
export function deleteItemRoute({ conversations }: ConversationsApi): Route {
  return {
    async run(request) {
      const item = request.pathParameters['item'] ?? '';
      return { json: encodeConversation(await conversations.deleteItem(getConversationKey(request), item)) };
    },
  };
}

/**
 * Reserves what items, and conversations besides them, are going to store. It is exact, so nothing is settled: a write that fails counts
 * until it would have expired, because some of it may be stored.
 */
function reserveItems(
  { conversations, openStorageLimits }: Pick<ConversationsApi, 'conversations' | 'openStorageLimits'>,
  { principal: { tenant, policy }, telemetry }: HttpRequest,
  items: readonly ConversationItem[],
  heads: number,
): Promise<ReservedStorage | undefined> {
  return reserveStorage(openStorageLimits, { tenant, policy, telemetry }, () => ({
    most: {
      bytes: items.reduce((sum, { content }) => sum + measureSealed(content), 0),
      items: items.length + heads,
    },
    expiresAt: conversations.expiresAt(),
  }));
}

function getConversationKey({ principal, pathParameters }: HttpRequest) {
  const id = pathParameters['id'] ?? '';
  if (!v.is(storedId, id)) throw conversationNotFoundError(id);
  return { tenant: principal.tenant, id };
}

function toConversationItems(items: readonly InputItem[], ids: () => string): ConversationItem[] {
  rejectDuplicateIds(items, 'items');
  return items.map((item) => {
    if (isItemReference(item)) throw itemNotFoundError(item.id);
    const content: TurnItem = { item: toStoredItem(item, ids) };
    return { id: content.item.id, content };
  });
}

/** Returns the generator of item ids: those of an operation are derived from it, so that a repeated request finds them. */
function createItemIds(operation: HttpRequest['operation'], ids: () => string): () => string {
  return operation === undefined ? ids : createItemIdGenerator(operation.id, 0);
}

/** Returns the conversation that an earlier attempt of an operation has created, or undefined. */
async function findConversation(conversations: Conversations, key: ConversationKey): Promise<Conversation | undefined> {
  try {
    return await conversations.retrieve(key);
  } catch (thrown) {
    if (thrown instanceof LambentError && thrown.code === 'not_found') return undefined;
    throw thrown;
  }
}

/** Returns those of the items that the conversation has. */
async function findItems(items: readonly ConversationItem[], earlier: EarlierItems): Promise<ConversationItem[]> {
  const ids = await earlier.findIds(items.map(({ id }) => id));
  return items.filter(({ id }) => ids.has(id));
}

function encodeConversation({ id, createdAt, metadata }: Conversation) {
  return { id, object: 'conversation', created_at: Math.floor(createdAt / 1000), metadata };
}

function encodeItems(items: readonly ConversationItem[], hasMore: boolean, included: Includes) {
  return encodeList(
    items.map((item) => encodeItem(item, included)),
    hasMore,
  );
}

function encodeItem({ content }: ConversationItem, included: Includes) {
  const turnItem = parseTurnItem(content);
  return included.has('reasoning.encrypted_content')
    ? addContinuation(turnItem)
    : applyIncludes(turnItem.item, included);
}

function collectIds(objects: unknown): string[] {
  return Array.isArray(objects) ? objects.map(({ id }) => String(id)) : [];
}
