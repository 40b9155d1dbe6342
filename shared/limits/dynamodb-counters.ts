import { ConditionalCheckFailedException, type DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import type { Item } from '../aws/attributes.ts';
import { isThrottling, isUnsent } from '../aws/outage.ts';
import { getItem, scanItems, type Table } from '../aws/table.ts';
import { type CounterStore, type Counters, type CounterWrite, LIST_PARTS } from './counters.ts';

/** A write that was throttled or not sent was not made. It is repeated so often, after a pause that doubles. */
const MAX_ATTEMPTS = 3;
const BASE_PAUSE_MS = 25;

/**
 * Creates the store of counters in a DynamoDB table.
 * @param client one that makes a single attempt per request: an addition must not be repeated if it may have been made. If it makes
 * more, only read with the store
 */
export function createDynamoDBCounters(client: DynamoDBClient, tableName: string): CounterStore {
  const table: Table = { client, name: tableName };
  const read = async (pk: string): Promise<Counters> => toCounters((await getItem(table, { pk: { S: pk } })) ?? {});
  return {
    async write(write) {
      const command = new UpdateItemCommand({
        TableName: tableName,
        Key: { pk: { S: write.pk } },
        ...toExpressions(write),
        ReturnValues: 'ALL_NEW',
        ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
      });
      for (let attempt = 1; ; attempt += 1) {
        try {
          const { Attributes } = await client.send(command);
          return { isWritten: true, counters: toCounters(Attributes ?? {}) };
        } catch (thrown) {
          if (thrown instanceof ConditionalCheckFailedException) {
            // A stand-in doesn't return the item.
            const counters = thrown.Item === undefined ? await read(write.pk) : toCounters(thrown.Item);
            return { isWritten: false, counters };
          }
          if (attempt === MAX_ATTEMPTS || !(isThrottling(thrown) || isUnsent(thrown))) throw thrown;
          await new Promise((resolve) => setTimeout(resolve, BASE_PAUSE_MS * 2 ** attempt * (0.5 + Math.random())));
        }
      }
    },
    read,
    async *list(prefixes, firstPart = 0) {
      const values: Item = {};
      const conditions = prefixes.map((each, index) => {
        const [prefix = '', part] = each.split('*');
        values[`:prefix${index}`] = { S: prefix };
        if (part !== undefined) values[`:part${index}`] = { S: part };
        return `begins_with(pk, :prefix${index})${part === undefined ? '' : ` AND contains(pk, :part${index})`}`;
      });
      const query = { filter: conditions.join(' OR '), values };
      for (let part = 0; part < LIST_PARTS; part += 1) {
        const segment = { index: (firstPart + part) % LIST_PARTS, total: LIST_PARTS };
        for await (const item of scanItems(table, { ...query, segment }))
          yield { pk: item['pk']?.S ?? '', counters: toCounters(item) };
      }
    },
  };
}

function toCounters(item: Item): Counters {
  return Object.fromEntries(
    Object.entries(item).flatMap(([name, { N }]) => (N === undefined ? [] : [[name, BigInt(N)]])),
  );
}

/** Returns the expressions of a write. All names are placeholders, because they contain names of models. */
export function toExpressions({
  add = {},
  set = {},
  remove = [],
  atMost = {},
  atLeast = {},
  equal = {},
}: CounterWrite) {
  const names: Record<string, string> = {};
  const values: Item = {};
  const placeholders = new Map<string, string>();
  const addName = (name: string): string => {
    const placeholder = placeholders.get(name) ?? `#n${placeholders.size}`;
    placeholders.set(name, placeholder);
    names[placeholder] = name;
    return placeholder;
  };
  const addValue = (value: bigint): string => {
    const placeholder = `:v${Object.keys(values).length}`;
    values[placeholder] = { N: String(value) };
    return placeholder;
  };
  const adds = Object.entries(add).map(([name, value]) => `${addName(name)} ${addValue(value)}`);
  const sets = Object.entries(set).map(([name, value]) => `${addName(name)} = ${addValue(value)}`);
  const removes = remove.map(addName);
  const conditions = [
    ...Object.entries(atMost).map(
      ([name, value]) => `(attribute_not_exists(${addName(name)}) OR ${addName(name)} <= ${addValue(value)})`,
    ),
    ...Object.entries(atLeast).map(([name, value]) => `${addName(name)} >= ${addValue(value)}`),
    ...Object.entries(equal).map(([name, value]) =>
      value === undefined ? `attribute_not_exists(${addName(name)})` : `${addName(name)} = ${addValue(value)}`,
    ),
  ];
  return {
    UpdateExpression: [
      ...(sets.length > 0 ? [`SET ${sets.join(', ')}`] : []),
      ...(removes.length > 0 ? [`REMOVE ${removes.join(', ')}`] : []),
      ...(adds.length > 0 ? [`ADD ${adds.join(', ')}`] : []),
    ].join(' '),
    ...(conditions.length > 0 && { ConditionExpression: conditions.join(' AND ') }),
    ...(Object.keys(names).length > 0 && { ExpressionAttributeNames: names }),
    ...(Object.keys(values).length > 0 && { ExpressionAttributeValues: values }),
  };
}
