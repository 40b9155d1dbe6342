import * as v from 'valibot';
import type { Route } from '../access/route.ts';
import { newId } from '../core/ids.ts';
import type { Reference } from '../idempotency/replay.ts';
import { createConversationBody, createItemsBody, updateConversationBody } from '../openai/conversations/schema.ts';
import { encodeList, parseListQuery } from '../openai/lists.ts';
import { type Includes, parseIncludes } from '../openai/responses/includes.ts';
import { type InputItem, isItemReference, rejectDuplicates } from '../openai/responses/items.ts';
import { itemNotFoundError } from '../openai/responses/request.ts';
import { toStoredItem } from '../openai/responses/stored-items.ts';
import { isObject, storedId } from '../openai/schema.ts';
import { missingParameterError, validate } from '../openai/validation.ts';
import type { Conversation, ConversationItem, Conversations } from '../sessions/conversations.ts';
import { conversationNotFoundError } from '../sessions/session-errors.ts';
import { parseTurnItem, type TurnItem, withContinuation } from './response-chain.ts';
import { applyIncludes } from './stored-response-routes.ts';

export interface ConversationsApi {
  readonly conversations: Conversations;
  /** Makes the variable part of an id, never twice the same: 24 to 64 hexadecimal digits. */
  readonly ids?: () => string;
}

/** `POST /v1/conversations`. */
export function createConversationRoute({ conversations, ids = newId }: ConversationsApi): Route {
  return {
    scope: 'inference',
    bodyOptional: true,
    async run({ body, principal }) {
      const { items, metadata } = validate(createConversationBody, body ?? {});
      const key = { tenant: principal.tenant, id: `conv_${ids()}` };
      return { json: shown(await conversations.create(key, { ...metadata }, itemsOf(items ?? [], ids))) };
    },
  };
}

/** How a conversation that was made with an idempotency key is shown again: as it is now. */
export function conversationReference({ conversations }: ConversationsApi): Reference {
  return {
    idsOf: (json) => idsIn([json]),
    show: async ({ principal }, [id = '']) => shown(await conversations.retrieve({ tenant: principal.tenant, id })),
  };
}

/** `GET /v1/conversations/{id}`. */
export function retrieveConversationRoute({ conversations }: ConversationsApi): Route {
  return {
    scope: 'inference',
    run: async (request) => ({ json: shown(await conversations.retrieve(keyOf(request))) }),
  };
}

/** `POST /v1/conversations/{id}`. */
export function updateConversationRoute({ conversations }: ConversationsApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const { metadata } = validate(updateConversationBody, request.body);
      if (metadata === undefined) throw missingParameterError('metadata');
      return { json: shown(await conversations.update(keyOf(request), { ...metadata })) };
    },
  };
}

/** `DELETE /v1/conversations/{id}`. Its items go with it. */
export function deleteConversationRoute({ conversations }: ConversationsApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const key = keyOf(request);
      await conversations.delete(key);
      return { json: { id: key.id, object: 'conversation.deleted', deleted: true } };
    },
  };
}

/** `POST /v1/conversations/{id}/items`. */
export function createItemsRoute({ conversations, ids = newId }: ConversationsApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const { items } = validate(createItemsBody, request.body);
      const included = parseIncludes(request.query);
      const turn = await conversations.beginTurn(keyOf(request), `items_${ids()}`);
      try {
        const added = itemsOf(items, ids, turn.items);
        await turn.commit(added);
        return {
          json: encodeList(
            added.map((item) => shownItem(item, included)),
            false,
          ),
        };
      } finally {
        await turn.release();
      }
    },
  };
}

/** How items that were added with an idempotency key are shown again: if all of them are still there. */
export function itemsReference({ conversations }: ConversationsApi): Reference {
  return {
    idsOf: (json) => idsIn(isObject(json) ? json['data'] : undefined),
    async show(request, ids) {
      const included = parseIncludes(request.query);
      const items = await Promise.all(ids.map((id) => conversations.retrieveItem(keyOf(request), id)));
      return encodeList(
        items.map((item) => shownItem(item, included)),
        false,
      );
    },
  };
}

/** `GET /v1/conversations/{id}/items`. */
export function listItemsRoute({ conversations }: ConversationsApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const included = parseIncludes(request.query);
      const { items, hasMore } = await conversations.list(keyOf(request), parseListQuery(request.query));
      return {
        json: encodeList(
          items.map((item) => shownItem(item, included)),
          hasMore,
        ),
      };
    },
  };
}

/** `GET /v1/conversations/{id}/items/{item}`. */
export function retrieveItemRoute({ conversations }: ConversationsApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const included = parseIncludes(request.query);
      const item = await conversations.retrieveItem(keyOf(request), request.pathParameters['item'] ?? '');
      return { json: shownItem(item, included) };
    },
  };
}

/** `DELETE /v1/conversations/{id}/items/{item}`: answers with the conversation. */
export function deleteItemRoute({ conversations }: ConversationsApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const item = request.pathParameters['item'] ?? '';
      return { json: shown(await conversations.deleteItem(keyOf(request), item)) };
    },
  };
}

function keyOf({ principal, pathParameters }: Parameters<Route['run']>[0]) {
  const id = pathParameters['id'] ?? '';
  if (!v.is(storedId, id)) throw conversationNotFoundError(id);
  return { tenant: principal.tenant, id };
}

function itemsOf(
  items: readonly InputItem[],
  ids: () => string,
  before: readonly ConversationItem[] = [],
): ConversationItem[] {
  rejectDuplicates(items, 'items', before);
  return items.map((item) => {
    if (isItemReference(item)) throw itemNotFoundError(item.id);
    const kept: TurnItem = { item: toStoredItem(item, ids) };
    return { id: kept.item.id, content: kept };
  });
}

function shown({ id, createdAt, metadata }: Conversation) {
  return { id, object: 'conversation', created_at: Math.floor(createdAt / 1000), metadata };
}

function shownItem({ content }: ConversationItem, included: Includes) {
  const kept = parseTurnItem(content);
  return included.has('reasoning.encrypted_content') ? withContinuation(kept) : applyIncludes(kept.item, included);
}

function idsIn(shownOnes: unknown): string[] {
  return Array.isArray(shownOnes) ? shownOnes.map(({ id }) => String(id)) : [];
}
