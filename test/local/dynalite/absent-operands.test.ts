import { describe, expect, it } from 'vitest';
import { useCleanup } from '../runners.ts';
import { startServer } from './servers.ts';

useCleanup();

const ITEM = {
  ...{ pk: { S: 'p' }, sk: { S: '1' }, text: { S: 'xy' }, part: { S: 'x' }, empty: { S: '' }, count: { N: '1' } },
  ...{ yes: { BOOL: true }, no: { BOOL: false }, list: { L: [] } },
};
/** Whether the item matches. Attributes with another name than those above are absent. */
const CONDITIONS: Readonly<Record<string, boolean>> = {
  'begins_with(text, part)': true,
  'begins_with(text, none)': false,
  'begins_with(none, part)': false,
  'begins_with(none, nil)': false,
  'NOT begins_with(none, nil)': true,
  'begins_with(yes, no)': false,
  'begins_with(list, count)': false,
  'text IN (none, text)': true,
  'text IN (part, none)': false,
  'none IN (nil, text)': false,
  'none IN (none)': false,
  'empty IN (part, empty)': true,
  'text BETWEEN part AND text': true,
  'text BETWEEN part AND none': false,
  'text BETWEEN none AND text': false,
  'none BETWEEN nil AND nil': false,
  'none BETWEEN part AND text': false,
  'count BETWEEN count AND text': false,
  'count BETWEEN count AND none': false,
  'size(text) BETWEEN count AND none': false,
  'NOT (text BETWEEN part AND none)': true,
  'none = nil': false,
  'none >= nil': false,
  'none <> nil': true,
  'none <> text': true,
  'text <> none': true,
  'none = text OR text >= part': true,
};

describe('a condition of the stand-in for DynamoDB', () => {
  it('absent attributes are false in each comparison but <>, in conditions and filters', async () => {
    const server = await startServer('local');
    await server.create('items');
    await server.send('PutItem', { TableName: 'items', Item: ITEM });
    const answers: Record<string, unknown> = {};
    const expected: Record<string, unknown> = {};
    for (const [condition, matches] of Object.entries(CONDITIONS)) {
      // Most of these names are reserved words.
      const names = [...new Set(condition.match(/\b(?!size|begins_with)[a-z]+\b/g))];
      const expression = condition.replace(/\b(?!size|begins_with)[a-z]+\b/g, '#$&');
      const ExpressionAttributeNames = Object.fromEntries(names.map((name) => [`#${name}`, name]));
      const common = { TableName: 'items', ExpressionAttributeNames };
      const scan = await server.send('Scan', { ...common, FilterExpression: expression });
      const put = await server.send('PutItem', { ...common, Item: ITEM, ConditionExpression: expression });
      answers[condition] = [Object(scan.body).Count, put.status];
      expected[condition] = matches ? [1, 200] : [0, 400];
    }
    expect(answers).toEqual(expected);
  });
});
