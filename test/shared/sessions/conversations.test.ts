import { randomUUID } from 'node:crypto';
import { DynamoDBClient, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startFaultProxy } from '../../../local/faults/proxy.ts';
import type { Sleep } from '../../../shared/core/heartbeat.ts';
import type { ConversationKey, ConversationTable, LockResult } from '../../../shared/sessions/conversation-records.ts';
import { createConversationTable } from '../../../shared/sessions/conversation-table.ts';
import {
  type ConversationItem,
  type Conversations,
  createConversations,
  type EarlierItems,
} from '../../../shared/sessions/conversations.ts';
import type { Vault } from '../../../shared/vault/vault.ts';
import { waitUntil } from '../../wait.ts';
import { type Stores, startStores } from './services.ts';

const TENANT = 'acme';
const DAY_MS = 86_400_000;
const clock = { now: Date.parse('2026-11-01T00:00:00Z') };

let stores: Stores;
let table: ConversationTable;
let conversations: Conversations;
beforeAll(async () => {
  stores = await startStores();
  table = createConversationTable(stores.client, stores.tableName, stores.bucket);
  conversations = createConversations({ table, vault: stores.vault, retentionDays: 30, now: () => clock.now });
});
afterAll(() => stores[Symbol.asyncDispose]());

const makeItems = (...names: string[]) => names.map((name) => ({ id: name, content: { said: name } }));

async function createConversation(...names: string[]) {
  const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
  await conversations.create(key, {}, makeItems(...names));
  return key;
}

async function readRows(key: { tenant: string; id: string }) {
  const { Items = [] } = await stores.client.send(new ScanCommand({ TableName: stores.tableName }));
  return Items.filter(({ pk }) => pk?.S === `${key.tenant}#${key.id}`);
}

/** Reads all items of a conversation. */
const readItems = async (key: ConversationKey) => collect(await conversations.readEarlier(key));

async function collect({ pages }: EarlierItems) {
  const items: ConversationItem[] = [];
  for await (const page of pages()) items.push(...page.map(({ id, content }) => ({ id, content })));
  return items;
}

const readNames = async (key: ConversationKey) => (await readItems(key)).map(({ id }) => id);

describe('a turn', () => {
  it('the items of a turn become visible together when it commits', async () => {
    const key = await createConversation('a');
    const turn = await conversations.beginTurn(key, 'one');
    expect((await collect(turn.earlier)).map(({ id }) => id)).toEqual(['a']);
    expect(await readNames(key)).toEqual(['a']);
    await turn.commit(makeItems('b', 'c'));
    expect(await readNames(key)).toEqual(['a', 'b', 'c']);
  });

  it('a turn whose lock another turn took over changes nothing', async () => {
    const key = await createConversation();
    const dead = await conversations.beginTurn(key, 'dead');
    clock.now += 61_000;
    const next = await conversations.beginTurn(key, 'next');
    await expect(dead.commit(makeItems('late'))).rejects.toMatchObject({ code: 'conversation_locked' });
    await next.commit(makeItems('b'));
    await expect(dead.commit(makeItems('later'))).rejects.toMatchObject({ code: 'conversation_locked' });
    await dead.release();
    expect(await readNames(key)).toEqual(['b']);
  });

  it('a turn that was answered in the background leaves the conversation unlocked, also if it was there already', async () => {
    const key = await createConversation();
    for (let repetition = 0; repetition < 2; repetition += 1) {
      await conversations.appendFinishedTurn(key, 'finished', makeItems('a'));
      const turn = await conversations.beginTurn(key, `next ${repetition}`);
      await turn.release();
    }
    expect(await readNames(key)).toEqual(['a']);
  });

  it('a turn that waits for the lock asks for it a few times a second', async () => {
    let asked = 0;
    const counted: ConversationTable = {
      ...table,
      acquireLock(...args) {
        asked += 1;
        return table.acquireLock(...args);
      },
    };
    const waiting = createConversations({ table: counted, vault: stores.vault, retentionDays: 30 });
    const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
    await waiting.create(key, {}, []);
    const holder = await waiting.beginTurn(key, 'holder');
    await expect(waiting.beginTurn(key, 'waiting')).rejects.toMatchObject({ code: 'conversation_locked' });
    await holder.release();
    expect(asked).toBeLessThan(30);
  });

  it('a turn that takes longer than a lock lasts keeps its lock, by renewing it', async () => {
    const key = await createConversation();
    const attempts: LockResult[] = [];
    let isDone = false;
    /** Advances the clock instead of waiting. After each of ten pauses, another owner tries to acquire the lock. */
    const sleep: Sleep = async (ms, signal) => {
      if (attempts.length === 10) {
        isDone = true;
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
      }
      clock.now += ms;
      attempts.push(await table.acquireLock(key, 'other', clock.now + 60_000, clock.now));
    };
    const now = () => clock.now;
    const renewing = createConversations({ table, vault: stores.vault, retentionDays: 30, now, sleep });
    const turn = await renewing.beginTurn(key, 'long');
    await waitUntil('the clock has advanced ten times', () => isDone);
    expect(attempts).toEqual(Array.from({ length: 10 }, () => 'held'));
    await turn.commit(makeItems('a'));
    expect(await readNames(key)).toEqual(['a']);
  });

  it('the items of a turn that crashed are never visible', async () => {
    const key = await createConversation('a');
    const crashed = await table.acquireLock(key, 'crashed', clock.now + 60_000, clock.now);
    if (typeof crashed === 'string') throw new Error(crashed);
    const { lockEpoch: epoch, nextPosition } = crashed.head;
    for (const offset of [0, 1, 2]) {
      const place = { position: nextPosition + offset, itemId: `ghost${offset}`, epoch, turn: 'crashed' };
      await table.putItem(key, { ...place, sealed: new Uint8Array([1]) }, Math.floor(clock.now / 1000) + 1_000);
    }
    expect(await readNames(key)).toEqual(['a']);
    clock.now += 61_000;
    await (await conversations.beginTurn(key, 'next')).commit(makeItems('b'));
    await (await conversations.beginTurn(key, 'after')).commit(makeItems('c', 'd', 'e'));
    expect(await readNames(key)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('a late turn does not write at the position of a deleted item', async () => {
    const key = await createConversation();
    const dead = await conversations.beginTurn(key, 'dead');
    clock.now += 61_000;
    await (await conversations.beginTurn(key, 'next')).commit(makeItems('b', 'c'));
    await conversations.deleteItem(key, 'b');
    await expect(dead.commit(makeItems('late'))).rejects.toMatchObject({ code: 'conversation_locked' });
    expect(await readNames(key)).toEqual(['c']);
  });

  it('a turn waits for another turn to end, and is refused if it doesn’t', async () => {
    const key = await createConversation();
    // Called for each lock's owner, and before each pause of a turn that waits.
    let calls = 0;
    const random = () => {
      calls += 1;
      return 0.5;
    };
    const waiting = createConversations({
      table,
      vault: stores.vault,
      retentionDays: 30,
      now: () => clock.now,
      random,
    });
    const first = await waiting.beginTurn(key, 'first');
    const second = waiting.beginTurn(key, 'second');
    await waitUntil('the second turn waits', () => calls >= 3);
    await first.commit(makeItems('a'));
    await (await second).commit(makeItems('b'));
    const third = await waiting.beginTurn(key, 'third');
    calls = 0;
    const fourth = waiting.beginTurn(key, 'fourth').catch((error: unknown) => error);
    await waitUntil('the fourth turn waits', () => calls >= 2);
    clock.now += 3_000;
    expect(await fourth).toMatchObject({ code: 'conversation_locked', retryAfterMs: 5_000 });
    await third.release();
    expect(await readNames(key)).toEqual(['a', 'b']);
  });

  it('a finished turn is appended once, however often it is delivered', async () => {
    const key = await createConversation('a');
    await conversations.appendFinishedTurn(key, 'resp_1', makeItems('b'));
    await (await conversations.beginTurn(key, 'other')).commit(makeItems('c'));
    await conversations.appendFinishedTurn(key, 'resp_1', makeItems('b'));
    expect(await readNames(key)).toEqual(['a', 'b', 'c']);
  });
});

describe('a stored conversation', () => {
  it('an expired conversation is not found, and expired items are not listed', async () => {
    const key = await createConversation('old');
    clock.now += 20 * DAY_MS;
    await (await conversations.beginTurn(key, 'turn')).commit(makeItems('new'));
    clock.now += 11 * DAY_MS;
    expect(await readNames(key)).toEqual(['new']);
    clock.now += 20 * DAY_MS;
    await expect(conversations.retrieve(key)).rejects.toMatchObject({ code: 'not_found' });
    await expect(conversations.beginTurn(key, 'late')).rejects.toMatchObject({ code: 'not_found' });
    await expect(conversations.update(key, {})).rejects.toMatchObject({ code: 'not_found' });
  });

  it('attributes that a newer version wrote are ignored and kept', async () => {
    const key = await createConversation('a');
    for (const sk of ['head', 'item#000000000']) {
      await stores.client.send(
        new UpdateItemCommand({
          TableName: stores.tableName,
          Key: { pk: { S: `${TENANT}#${key.id}` }, sk: { S: sk } },
          UpdateExpression: 'SET fromTheFuture = :it',
          ExpressionAttributeValues: { ':it': { S: 'here' } },
        }),
      );
    }
    await conversations.update(key, { a: 'b' });
    await (await conversations.beginTurn(key, 'turn')).commit(makeItems('b'));
    expect(await readNames(key)).toEqual(['a', 'b']);
    const own = await readRows(key);
    expect(own.filter((item) => item['fromTheFuture'] !== undefined)).toHaveLength(2);
  });

  it('the table contains no plaintext of items or metadata', async () => {
    const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
    await conversations.create(key, { canary: 'canary-metadata' }, [{ id: 'msg_1', content: 'canary-content' }]);
    const { Items = [] } = await stores.client.send(new ScanCommand({ TableName: stores.tableName }));
    const stored = JSON.stringify(Items, (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
    );
    expect(stored).not.toContain('canary');
    expect(await conversations.retrieve(key)).toMatchObject({ metadata: { canary: 'canary-metadata' } });
  });

  it('items whose records were swapped in the table do not open', async () => {
    const key = await createConversation('a', 'b');
    const rows = [];
    for await (const row of table.queryItems(key, { from: 0, to: 2, newestFirst: false }, clock.now)) rows.push(row);
    const expiresAt = Math.floor(clock.now / 1000) + 99;
    for (const { sealed = new Uint8Array(), ...row } of rows)
      await table.putItem(key, { ...row, sealed, position: 1 - row.position }, expiresAt);
    await expect(readItems(key)).rejects.toMatchObject({ code: 'record_unreadable' });
  });

  it('deleting a conversation deletes items that a turn writes meanwhile', async () => {
    const key = await createConversation('a');
    const turn = await conversations.beginTurn(key, 'one');
    // The turn's process dies after this write, so that it can't remove its items itself.
    const dying = {
      ...table,
      async deleteHead(...args: Parameters<typeof table.deleteHead>) {
        const silent = { ...table, commitTurn: () => Promise.reject(new Error('died')), releaseLock: async () => {} };
        const other = createConversations({
          table: silent,
          vault: stores.vault,
          retentionDays: 30,
          now: () => clock.now,
        });
        await turn.release();
        const late = await other.beginTurn(key, 'late');
        await expect(late.commit(makeItems('b'))).rejects.toThrow('died');
        await late.release();
        return table.deleteHead(...args);
      },
    };
    const deleting = createConversations({
      table: dying,
      vault: stores.vault,
      retentionDays: 30,
      now: () => clock.now,
    });
    await deleting.delete(key);
    expect(await readRows(key)).toEqual([]);
  });

  it('deleting a conversation deletes all its items', async () => {
    const key = await createConversation(...Array.from({ length: 30 }, (_, index) => `item${index}`));
    await conversations.delete(key);
    expect(await readRows(key)).toEqual([]);
  });

  it('a deletion that failed half-way can be repeated', async () => {
    const key = await createConversation('a', 'b');
    const failing = { ...table, deleteHead: () => Promise.reject(new Error('no answer')) };
    const now = () => clock.now;
    const broken = createConversations({ table: failing, vault: stores.vault, retentionDays: 30, now });
    await expect(broken.delete(key)).rejects.toThrow('no answer');
    await conversations.delete(key);
    expect(await readRows(key)).toEqual([]);
    await expect(conversations.delete(key)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('deleting a conversation during a turn leaves no items behind', async () => {
    const key = await createConversation('a');
    const turn = await conversations.beginTurn(key, 'late');
    await conversations.delete(key);
    await expect(turn.commit(makeItems('b'))).rejects.toMatchObject({ code: 'not_found' });
    expect(await readRows(key)).toEqual([]);
  });
});

describe('a page of items', () => {
  it('that begins after an unknown item is refused', async () => {
    const key = await createConversation('a');
    const listing = { newestFirst: false, after: 'unknown', limit: 10 };
    await expect(conversations.list(key, listing)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('has at least one item, however large it is, and ends before one that makes it too large', async () => {
    const key = await createConversation('a');
    const turn = await conversations.beginTurn(key, 'turn');
    await turn.commit(['b', 'c'].map((id) => ({ id, content: { said: 'x'.repeat(4_100_000) } })));
    const seen: string[] = [];
    for (let page = await conversations.list(key, { newestFirst: false, limit: 10 }); ; ) {
      seen.push(page.items.map(({ id }) => id).join());
      const after = page.items.at(-1)?.id;
      if (!page.hasMore || after === undefined) break;
      page = await conversations.list(key, { newestFirst: false, limit: 10, after });
    }
    expect(seen).toEqual(['a', 'b', 'c']);
  });
});

describe('an item that is too large for the table', () => {
  const large = (id: string) => ({ id, content: { said: `canary ${'x'.repeat(600_000)}` } });

  /** Creates a conversation with one large item from the start and another from a turn. */
  async function createLargeConversation() {
    const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
    await conversations.create(key, {}, [large('a')]);
    await (await conversations.beginTurn(key, 'turn')).commit([...makeItems('b'), large('c')]);
    const objects = () => stores.bucket.list(`${TENANT}/conversation/${key.id}/`);
    return { key, objects };
  }

  it('a large item is stored sealed in the bucket, and is read like any other', async () => {
    const { key, objects } = await createLargeConversation();
    expect(await readItems(key)).toEqual([large('a'), ...makeItems('b'), large('c')]);
    expect(await conversations.retrieveItem(key, 'c')).toEqual(large('c'));
    const kept = await Promise.all((await objects()).map((object) => stores.bucket.get(object)));
    expect(kept).toHaveLength(2);
    for (const bytes of kept) expect(Buffer.from(bytes ?? []).includes('canary')).toBe(false);
  });

  it('a large item is removed from the bucket with the item and with the conversation', async () => {
    const { key, objects } = await createLargeConversation();
    await conversations.deleteItem(key, 'a');
    expect(await readNames(key)).toEqual(['b', 'c']);
    expect(await objects()).toHaveLength(1);
    await conversations.delete(key);
    expect(await objects()).toEqual([]);
  });

  it('deleting a conversation removes objects of a crashed writer that no item refers to', async () => {
    const { key, objects } = await createLargeConversation();
    await stores.bucket.put(`${TENANT}/conversation/${key.id}/7-1`, new Uint8Array([1]), false);
    await conversations.delete(key);
    expect(await objects()).toEqual([]);
  });

  it('a writer that lost its lock removes its large item from the bucket', async () => {
    const key = await createConversation();
    const dead = await conversations.beginTurn(key, 'dead');
    clock.now += 61_000;
    await (await conversations.beginTurn(key, 'next')).commit(makeItems('b'));
    await expect(dead.commit([large('late')])).rejects.toMatchObject({ code: 'conversation_locked' });
    expect(await stores.bucket.list(`${TENANT}/conversation/${key.id}/`)).toEqual([]);
  });

  it('an item that is missing in the bucket is an error on every page that contains it', async () => {
    const { key, objects } = await createLargeConversation();
    // More than a query's megabyte, so that the first page's failure occurs before the second page arrives.
    const halves = Array.from({ length: 6 }, (_, index) => ({ id: `half${index}`, content: 'y'.repeat(220_000) }));
    await (await conversations.beginTurn(key, 'more')).commit(halves);
    await stores.bucket.remove(await objects());
    await expect(readItems(key)).rejects.toMatchObject({ code: 'record_unreadable' });
  });
});

describe('a conversation that does not fit into memory', () => {
  const large = (id: string) => ({ id, content: { said: 'x'.repeat(1_500_000) } });

  /** Creates a conversation of 12 MB, and records what is read of its content. */
  async function createHugeConversation() {
    const opened: string[] = [];
    const vault = {
      ...stores.vault,
      open: (...[name, sealed]: Parameters<Vault['open']>) => {
        opened.push(name.field);
        return stores.vault.open(name, sealed);
      },
    };
    const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
    await conversations.create(key, {}, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(large));
    const recorded = createConversations({ table, vault, retentionDays: 30, now: () => clock.now });
    return { key, opened, conversations: recorded };
  }

  it('items are added without reading any content', async () => {
    const { key, opened, conversations: recorded } = await createHugeConversation();
    const turn = await recorded.beginTurn(key, 'turn');
    expect(await turn.earlier.findIds(['b', 'h', 'z'])).toEqual(new Set(['b', 'h']));
    expect(await turn.earlier.hasTurn('turn')).toBe(false);
    await turn.commit(makeItems('i'));
    await recorded.appendFinishedTurn(key, 'background', makeItems('j'), 8);
    await recorded.appendFinishedTurn(key, 'background', makeItems('j'), 8);
    expect(opened).toEqual([]);
    expect((await readNames(key)).slice(-3)).toEqual(['h', 'i', 'j']);
  });

  it('a page of a list ends before it exceeds 4 MB', async () => {
    const { key, opened, conversations: recorded } = await createHugeConversation();
    const names: string[] = [];
    for (let after: string | undefined; ; after = names.at(-1)) {
      const page = { newestFirst: false, limit: 100, ...(after === undefined ? {} : { after }) };
      const { items, hasMore } = await recorded.list(key, page);
      names.push(...items.map(({ id }) => id));
      expect(items.length).toBeLessThanOrEqual(2);
      if (!hasMore) break;
    }
    expect(names).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
    expect(opened.length).toBeLessThan(20);
  });

  it('items are read in pages of at most four large ones', async () => {
    const { key, opened, conversations: recorded } = await createHugeConversation();
    const { pages } = await recorded.readEarlier(key, 7);
    const sizes: number[] = [];
    for await (const page of pages()) {
      sizes.push(page.length);
      if (sizes.length === 1) expect(opened).toHaveLength(4);
    }
    expect(sizes).toEqual([4, 3]);
  });

  it('hundreds of ids are found in one conversation', async () => {
    const names = Array.from({ length: 250 }, (_, index) => `id${index}`);
    const key = await createConversation(...names);
    const { findIds } = await conversations.readEarlier(key, 240);
    expect(await findIds([...names, 'other'])).toEqual(new Set(names.slice(0, 240)));
    expect(await findIds([])).toEqual(new Set());
  });
});

describe('a request whose response is lost', () => {
  /** Creates conversations whose table executes a request and then cuts the connection, after `count` others. */
  async function createCutConversations() {
    let left = Number.POSITIVE_INFINITY;
    const random = () => (left-- === 0 ? 0 : 1);
    const proxy = await startFaultProxy({
      service: 'dynamodb',
      target: stores.tablesUrl,
      random,
      shares: { cutAfter: 1 },
    });
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    const client = new DynamoDBClient({ region: 'eu-west-1', endpoint: proxy.url, credentials });
    onTestFinished(async () => {
      client.destroy();
      await proxy.close();
      expect(proxy.counts().cutAfter).toBe(1);
    });
    const cut = createConversationTable(client, stores.tableName, stores.bucket);
    return {
      conversations: createConversations({ table: cut, vault: stores.vault, retentionDays: 30, now: () => clock.now }),
      cutAfter(count: number) {
        left = count;
      },
    };
  }

  it('a turn acquires the lock that it already holds', async () => {
    const key = await createConversation();
    const cut = await createCutConversations();
    cut.cutAfter(0);
    await (await cut.conversations.beginTurn(key, 'turn')).commit(makeItems('a'));
    await (await conversations.beginTurn(key, 'next')).commit(makeItems('b'));
    expect(await readNames(key)).toEqual(['a', 'b']);
  });

  it('a turn whose commit is retried succeeds', async () => {
    const key = await createConversation();
    const cut = await createCutConversations();
    const turn = await cut.conversations.beginTurn(key, 'turn');
    cut.cutAfter(1);
    await turn.commit(makeItems('a'));
    expect(await readNames(key)).toEqual(['a']);
  });

  it('a turn whose commit is retried succeeds even if another turn followed in the meantime', async () => {
    const key = await createConversation();
    const commitTurn: ConversationTable['commitTurn'] = async (...args) => {
      await table.commitTurn(...args);
      await (await conversations.beginTurn(key, 'next')).commit(makeItems('b'));
      return table.commitTurn(...args);
    };
    const repeating = { ...table, commitTurn };
    const cut = createConversations({ table: repeating, vault: stores.vault, retentionDays: 30, now: () => clock.now });
    await (await cut.beginTurn(key, 'turn')).commit(makeItems('a'));
    expect(await readNames(key)).toEqual(['a', 'b']);
  });
});

describe('an operation whose response is lost', () => {
  const large = (id: string) => ({ id, content: 'x'.repeat(400_000) });

  it('creating a conversation again returns it unchanged', async () => {
    const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
    const create = () => conversations.create(key, { a: 'b' }, makeItems('a'));
    const first = await create();
    clock.now += 1_000;
    expect(await create()).toEqual(first);
    expect(await readNames(key)).toEqual(['a']);
  });

  it('deleting an item whose deletion was repeated by the SDK succeeds, and its object is removed', async () => {
    const key = await createConversation();
    await (await conversations.beginTurn(key, 'turn')).commit([large('a')]);
    const markItemDeleted: ConversationTable['markItemDeleted'] = async (...args) => {
      await table.markItemDeleted(...args);
      return table.markItemDeleted(...args);
    };
    const repeating = { table: { ...table, markItemDeleted }, vault: stores.vault, retentionDays: 30 };
    const repeated = createConversations({ ...repeating, now: () => clock.now });
    expect(await repeated.deleteItem(key, 'a')).toMatchObject({ id: key.id });
    expect(await stores.bucket.list(`${TENANT}/conversation/${key.id}/`)).toEqual([]);
  });

  it('deleting an item again removes the object that the first call left behind', async () => {
    const key = await createConversation('b');
    await (await conversations.beginTurn(key, 'turn')).commit([large('a')]);
    const remove = () => Promise.reject(new Error('killed'));
    const crashing = createConversationTable(stores.client, stores.tableName, { ...stores.bucket, remove });
    const killed = createConversations({
      table: crashing,
      vault: stores.vault,
      retentionDays: 30,
      now: () => clock.now,
    });
    await expect(killed.deleteItem(key, 'a')).rejects.toThrow('killed');
    expect(await readNames(key)).toEqual(['b']);
    expect(await stores.bucket.list(`${TENANT}/conversation/${key.id}/`)).toHaveLength(1);
    expect(await conversations.deleteItem(key, 'a')).toMatchObject({ id: key.id });
    expect(await stores.bucket.list(`${TENANT}/conversation/${key.id}/`)).toEqual([]);
    await expect(conversations.deleteItem(key, 'a')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('any sequence of operations on a conversation', () => {
  it('a conversation lists the same items as a plain list, after any sequence of operations', async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), count: fc.integer({ min: 1, max: 4 }) }),
      fc.record({ kind: fc.constant('delete' as const), at: fc.nat(20) }),
      fc.record({ kind: fc.constant('abandon' as const), count: fc.integer({ min: 1, max: 3 }) }),
    );
    const pages = fc.record({ limit: fc.integer({ min: 1, max: 5 }), newestFirst: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), pages, async (steps, { limit, newestFirst }) => {
        const key = await createConversation();
        const expected: string[] = [];
        let made = 0;
        for (const each of steps) {
          if (each.kind === 'delete') {
            const [gone] = expected.splice(each.at % Math.max(1, expected.length), 1);
            if (gone !== undefined) await conversations.deleteItem(key, gone);
            continue;
          }
          const turn = await conversations.beginTurn(key, `turn${made}`);
          const names = Array.from({ length: each.count }, () => `item${made++}`);
          if (each.kind === 'abandon') await turn.release();
          else {
            await turn.commit(makeItems(...names));
            expected.push(...names);
          }
        }
        if (newestFirst) expected.reverse();
        const listed: string[] = [];
        for (let hasMore = true; hasMore; ) {
          const after = listed.at(-1);
          const page = await conversations.list(key, { newestFirst, limit, ...(after === undefined ? {} : { after }) });
          expect(page.items.length).toBeLessThanOrEqual(limit);
          listed.push(...page.items.map(({ id }) => id));
          hasMore = page.hasMore;
        }
        expect(listed).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });
});

describe('what the limits of a project count', () => {
  async function createCounted() {
    const given: { bytes: number; items: number; day: number }[] = [];
    const counting = createConversations({
      table,
      vault: stores.vault,
      retentionDays: 30,
      now: () => clock.now,
      async giveBackStorage(_tenant, { bytes, items }, expiresAt) {
        given.push({ bytes, items, day: Math.floor(expiresAt / 86_400) });
      },
    });
    const key = { tenant: TENANT, id: `conv_${randomUUID()}` };
    const first = counting.expiresAt();
    await counting.create(key, {}, [...makeItems('a', 'b'), { id: 'large', content: 'x'.repeat(20_000) }], first);
    clock.now += 2 * DAY_MS;
    const second = counting.expiresAt();
    const turn = await counting.beginTurn(key, 'one');
    await turn.commit(makeItems('c'), second);
    const sum = (day: number, name: 'bytes' | 'items') =>
      given.filter((each) => each.day === Math.floor(day / 86_400)).reduce((total, each) => total + each[name], 0);
    return { counting, key, given, first, second, sum };
  }

  it('is given back once when a conversation is deleted, however often and by how many at once', async () => {
    const { counting, key, given, first, second, sum } = await createCounted();
    await Promise.allSettled([1, 2, 3].map(() => counting.delete(key)));
    await counting.delete(key).catch(() => undefined);
    expect([sum(first, 'items'), sum(second, 'items')]).toEqual([4, 1]);
    expect(sum(first, 'bytes')).toBeGreaterThan(20_000);
    expect(given.every(({ day }) => [first, second].some((at) => day === Math.floor(at / 86_400)))).toBe(true);
  });

  it('is given back once for an item that is deleted before its conversation', async () => {
    const { counting, key, first, second, sum } = await createCounted();
    await Promise.allSettled([1, 2].map(() => counting.deleteItem(key, 'large')));
    expect(sum(first, 'items')).toBe(1);
    expect(sum(first, 'bytes')).toBeGreaterThan(20_000);
    await counting.delete(key);
    expect([sum(first, 'items'), sum(second, 'items')]).toEqual([4, 1]);
    expect(sum(first, 'bytes')).toBeLessThan(21_500);
  });
});
