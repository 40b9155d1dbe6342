import { beforeEach, describe, expect, it } from 'vitest';
import { useCleanup } from '../runners.ts';
import { startServer, type TableServer } from './servers.ts';

useCleanup();

let server: TableServer;
beforeEach(async () => {
  server = await startServer('local');
  await server.create('items');
});

const KEY = { pk: { S: 'p' }, sk: { S: '1' } };

/** Joins as many parts as fit, and makes the text exactly so long by spaces, which count. */
function fill(bytes: number, prefix: string, separator: string, part: (index: number) => string): string {
  let text = prefix;
  for (let index = 0; ; index += 1) {
    const next = `${text}${index === 0 ? '' : separator}${part(index)}`;
    if (next.length > bytes) return text.padEnd(bytes);
    text = next;
  }
}

const name = (index: number) => `attribute_with_a_long_name_${index}`;
const EXPRESSIONS = {
  UpdateItem: (bytes: number) => ({
    Key: KEY,
    UpdateExpression: fill(bytes, 'REMOVE ', ', ', name),
  }),
  PutItem: (bytes: number) => ({
    Item: KEY,
    ConditionExpression: fill(bytes, '', ' AND ', (index) => `attribute_not_exists(${name(index)})`),
  }),
  Scan: (bytes: number) => ({
    FilterExpression: fill(bytes, '', ' OR ', (index) => `attribute_exists(${name(index)})`),
  }),
  Query: (bytes: number) => ({
    KeyConditionExpression: 'pk = :pk'.padEnd(bytes),
    ExpressionAttributeValues: { ':pk': KEY.pk },
  }),
  GetItem: (bytes: number) => ({ Key: KEY, ProjectionExpression: fill(bytes, '', ', ', name) }),
};

/** Returns the status of a request, and its message if it was refused. */
async function send(operation: string, input: object): Promise<unknown> {
  const { status, body } = await server.send(operation, { TableName: 'items', ...input });
  return status === 200 ? 200 : `${status} ${Object(body).message}`;
}

describe('the stand-in for DynamoDB', () => {
  it.for(Object.entries(EXPRESSIONS))(
    '%s takes expressions of 4,096 bytes and no longer ones',
    async ([operation, make]) => {
      expect(await send(operation, make(4_096))).toBe(200);
      expect(await send(operation, make(4_097))).toMatch(
        /^400 Invalid \w+Expression: Expression size has exceeded the maximum allowed size; expression size: 4097$/,
      );
    },
  );

  it('a condition has at most 300 operators and functions, and parentheses are none', async () => {
    // So many comparisons, and one `or` less.
    const chain = (comparisons: number) => Array.from({ length: comparisons }, () => '(a<b)').join(' or ');
    const filter = (FilterExpression: string) => send('Scan', { FilterExpression });
    expect(await filter(chain(150))).toBe(200);
    expect(await filter(`NOT ${chain(150)}`)).toBe(200);
    const refused = '400 Invalid FilterExpression: The expression contains too many operators; operator count: 301';
    expect(await filter(chain(151))).toBe(refused);
    expect(await filter(`begins_with(a, b) AND ${chain(149)}`)).toBe(200);
    expect(await filter(`NOT begins_with(a, b) AND ${chain(150)}`)).toMatch(/operator count: 302$/);
    expect(await filter(`a BETWEEN b AND c AND ${chain(149)}`)).toBe(200);
    expect(await filter(`a BETWEEN b AND c AND ${chain(150)}`)).toBe(refused);
  });

  it('an update has at most 300 functions and additions, and assignments and removals are none', async () => {
    await server.send('PutItem', { TableName: 'items', Item: { ...KEY, n: { N: '1' } } });
    const update = (sets: number) =>
      send('UpdateItem', {
        Key: KEY,
        UpdateExpression: `SET ${Array.from({ length: sets }, (_, index) => `a${index} = n + n`).join(', ')} REMOVE b, c`,
      });
    // If assignments counted, these would be 302 operators.
    expect(await update(151)).toBe(200);
    expect(await update(285)).toBe(200);
    const sums = Array.from({ length: 301 }, (_, index) => `a${index}=n+n`);
    expect(await send('UpdateItem', { Key: KEY, UpdateExpression: `SET ${sums.join(',')}` })).toMatch(
      /^400 Invalid UpdateExpression: The expression contains too many operators; operator count: 301$/,
    );
  });

  it('IN has at most 100 operands', async () => {
    const filter = (count: number) =>
      send('Scan', {
        FilterExpression: `a IN (${Array.from({ length: count }, (_, index) => `:v${index}`).join(', ')})`,
        ExpressionAttributeValues: Object.fromEntries(
          Array.from({ length: count }, (_, index) => [`:v${index}`, { N: `${index}` }]),
        ),
      });
    expect(await filter(100)).toBe(200);
    expect(await filter(101)).toBe(
      '400 Invalid FilterExpression: The IN operator is provided with too many operands; number of operands: 101',
    );
  });

  it('a placeholder has at most 255 bytes, and all that placeholders stand for 2 MB', async () => {
    const placeholder = (bytes: number) => {
      const long = ':'.padEnd(bytes, 'v');
      return send('Scan', { FilterExpression: `a = ${long}`, ExpressionAttributeValues: { [long]: { N: '1' } } });
    };
    expect(await placeholder(255)).toBe(200);
    expect(await placeholder(256)).toMatch(/^400 A placeholder of an expression has more than 255 bytes/);
    const values = (bytes: number) =>
      send('Scan', { FilterExpression: 'a = :v', ExpressionAttributeValues: { ':v': { S: 'x'.repeat(bytes) } } });
    expect(await values(2_000_000)).toBe(200);
    expect(await values(2_100_000)).toBe('400 ExpressionAttributeValues exceeds max size');
  });
});
