import { CreateTableCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTables, type Tables } from '../../../local/tables.ts';
import {
  type Collection,
  createCollection,
  createObjectId,
  toProjectOwner,
} from '../../../shared/admin/object-table.ts';
import { createTableInput } from '../../tables.ts';

let tables: Tables;
let client: DynamoDBClient;
beforeAll(async () => {
  tables = await startTables({});
  client = new DynamoDBClient({
    endpoint: tables.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  await client.send(new CreateTableCommand(createTableInput('admin')));
});
afterAll(async () => {
  client.destroy();
  await tables.close();
});

const schema = v.object({ id: v.string(), createdAt: v.number(), name: v.string() });
type Thing = v.InferOutput<typeof schema>;

let owners = 0;
/** Returns the things of a project without objects, and its next neighbours of other types and owners. */
async function createThings(
  ...ids: string[]
): Promise<{ things: Collection<Thing>; owner: ReturnType<typeof toProjectOwner> }> {
  owners += 1;
  const owner = toProjectOwner(`p${owners}`);
  const things = createCollection({ client, name: 'admin' }, { type: 'thing', schema });
  for (const type of ['thin', 'thing_part', 'things'])
    await createCollection({ client, name: 'admin' }, { type, schema }).create(owner, makeThing('b'));
  await things.create(toProjectOwner(`p${owners}0`), makeThing('b'));
  for (const id of ids) await things.create(owner, makeThing(id));
  return { things, owner };
}

const makeThing = (id: string, name = id): Thing => ({ id, createdAt: 1, name });
const everything = { newestFirst: false, limit: 100 };

describe('objects', () => {
  it('an object is stored once under its id, and found by its owner only', async () => {
    const { things, owner } = await createThings();
    expect(await things.create(owner, makeThing('a', 'first'))).toBe(true);
    expect(await things.create(owner, makeThing('a', 'second'))).toBe(false);
    expect(await things.find(owner, 'a')).toEqual(makeThing('a', 'first'));
    expect(await things.find(toProjectOwner('other'), 'a')).toBeUndefined();
    await expect(things.get(toProjectOwner('other'), 'a')).rejects.toMatchObject({
      code: 'not_found',
      message: "No thing found with id 'a'.",
    });
  });

  it('concurrent updates of an object all take effect', async () => {
    const { things, owner } = await createThings('a');
    await Promise.all(
      ['x', 'y', 'z'].map((letter) => things.update(owner, 'a', (each) => ({ ...each, name: each.name + letter }))),
    );
    expect([...(await things.get(owner, 'a')).name].sort().join('')).toBe('axyz');
    await expect(things.update(owner, 'missing', (each) => each)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('a deleted object is gone, and can be created again', async () => {
    const { things, owner } = await createThings('a');
    expect(await things.delete(owner, 'a')).toBe(true);
    expect(await things.delete(owner, 'a')).toBe(false);
    expect(await things.find(owner, 'a')).toBeUndefined();
    expect(await things.create(owner, makeThing('a'))).toBe(true);
  });

  it('an id that is too long for a key of DynamoDB is not found', async () => {
    const { things, owner } = await createThings();
    const id = 'é'.repeat(600);
    expect(await things.find(owner, id)).toBeUndefined();
    expect(await things.delete(owner, id)).toBe(false);
    await expect(things.update(owner, id, (each) => each)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('an object that another version wrote wrongly is an error, not a missing object', async () => {
    const { things, owner } = await createThings();
    const Item = { pk: { S: owner }, sk: { S: 'thing#a' }, version: { S: '1' }, json: { S: '{"id":"a"}' } };
    await client.send(new PutItemCommand({ TableName: 'admin', Item }));
    await expect(things.get(owner, 'a')).rejects.toMatchObject({ code: 'record_unreadable' });
  });

  it('the order of created ids is that of their creation', () => {
    const ids = [1, 1_700_000_000_000, 1_800_000_000_000, 2 ** 43].map((now) => createObjectId('proj', now));
    expect(ids.toSorted()).toEqual(ids);
    for (const id of ids) expect(id).toMatch(/^proj_[0-9a-f]{28}$/);
  });
});

describe('lists of objects', () => {
  it('a list has only the objects of its owner and type, in both orders', async () => {
    const { things, owner } = await createThings('b', 'a', 'c');
    const list = async (newestFirst: boolean) =>
      (await things.list(owner, { newestFirst, limit: 100 })).items.map(({ id }) => id);
    expect(await list(false)).toEqual(['a', 'b', 'c']);
    expect(await list(true)).toEqual(['c', 'b', 'a']);
  });

  it('a filter leaves pages full', async () => {
    const { things, owner } = await createThings('a', 'b', 'c', 'd');
    const page = await things.list(owner, { newestFirst: false, limit: 2 }, ({ id }) => id !== 'b');
    expect(page).toEqual({ items: [makeThing('a'), makeThing('c')], hasMore: true });
  });

  it('pages, forwards and backwards in both orders, have each object once', async () => {
    const letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const { things, owner } = await createThings(...letters);
    const page = fc.record({
      newestFirst: fc.boolean(),
      limit: fc.integer({ min: 1, max: 8 }),
      forwards: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(page, async ({ newestFirst, limit, forwards }) => {
        const seen: string[][] = [];
        let cursor: string | undefined = forwards ? undefined : newestFirst ? '' : '~';
        for (;;) {
          const position = cursor === undefined ? {} : { [forwards ? 'after' : 'before']: cursor };
          const { items, hasMore } = await things.list(owner, { newestFirst, limit, ...position });
          seen.push(items.map(({ id }) => id));
          if (!hasMore) break;
          expect(items).toHaveLength(limit);
          cursor = (forwards ? items.at(-1) : items[0])?.id;
        }
        const all = (forwards ? seen : seen.toReversed()).flat();
        expect(all).toEqual(newestFirst ? letters.toReversed() : letters);
      }),
      { numRuns: 40 },
    );
  });

  it('a range between two objects is listed from its beginning, in both orders', async () => {
    const { things, owner } = await createThings('a', 'b', 'c', 'd', 'e');
    const list = async (newestFirst: boolean, after: string, before: string) => {
      const { items, hasMore } = await things.list(owner, { newestFirst, limit: 2, after, before });
      return [hasMore, ...items.map(({ id }) => id)];
    };
    expect(await list(false, 'a', 'e')).toEqual([true, 'b', 'c']);
    expect(await list(false, 'c', 'e')).toEqual([false, 'd']);
    expect(await list(true, 'e', 'a')).toEqual([true, 'd', 'c']);
    expect(await list(true, 'c', 'a')).toEqual([false, 'b']);
  });

  it.each([{ after: 'd', before: 'b' }, { after: '\u{10000}', before: '\uffff' }, { after: '~' }, { after: 'c' }])(
    'a range without objects is an empty page: %j',
    async (range) => {
      const { things, owner } = await createThings('a', 'b', 'c');
      expect(await things.list(owner, { ...everything, ...range })).toEqual({ items: [], hasMore: false });
    },
  );
});
