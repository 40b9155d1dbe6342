import fc from 'fast-check';
import { expect, it } from 'vitest';
import { useCleanup } from '../runners.ts';
import { anyRequest } from './requests.ts';
import { createFolder, startServer } from './servers.ts';

useCleanup();

it('the stand-in for DynamoDB answers each request as dynalite itself does', async () => {
  const servers = await Promise.all([
    startServer('installed'),
    startServer('local'),
    startServer('local', createFolder()),
  ]);
  let tables = 0;
  let accepted = 0;
  const property = fc.asyncProperty(fc.array(anyRequest, { minLength: 10, maxLength: 40 }), async (requests) => {
    tables += 1;
    const TableName = `table-${tables}`;
    await Promise.all(servers.map(({ create }) => create(TableName)));
    for (const { operation, input } of requests) {
      const request = { TableName, ...input };
      const [installed, ...ours] = await Promise.all(servers.map(({ send }) => send(operation, request)));
      for (const answer of ours) expect([operation, request, answer]).toEqual([operation, request, installed]);
      if (installed?.status === 200) accepted += 1;
    }
    const scans = await Promise.all(servers.map(({ send }) => send('Scan', { TableName })));
    for (const scan of scans) expect(scan).toEqual(scans[0]);
  });
  await fc.assert(property, { numRuns: 60 });
  // Requests that are all refused would prove little.
  expect(accepted).toBeGreaterThan(80);
});

const ITEMS = Array.from({ length: 50 }, (_, index) => ({
  pk: { S: `p${index % 3}` },
  sk: { S: `${index}` },
  a: { S: 'x' },
  n: { N: `${index}` },
}));

it.for([
  ['dynalite itself', 'installed'],
  ['the stand-in', 'local'],
] as const)('the stand-in reads tables that %s stored', async ([, writer]) => {
  const folder = createFolder();
  const first = await startServer(writer, folder);
  await first.create('kept');
  await Promise.all(ITEMS.map((Item) => first.send('PutItem', { TableName: 'kept', Item })));
  await first.end();

  const second = await startServer('local', folder);
  expect(await second.send('Scan', { TableName: 'kept' })).toMatchObject({ body: { Count: ITEMS.length } });
  const query = {
    TableName: 'kept',
    IndexName: 'all',
    KeyConditionExpression: 'a = :a AND n >= :n',
    ExpressionAttributeValues: { ':a': { S: 'x' }, ':n': { N: '40' } },
  };
  expect(await second.send('Query', query)).toMatchObject({ body: { Items: ITEMS.slice(40) } });
});

it('a killed stand-in loses none of its changes but the last ones', async () => {
  const folder = createFolder();
  const first = await startServer('local', folder);
  await first.create('kept');
  for (const Item of ITEMS) await first.send('PutItem', { TableName: 'kept', Item });
  await first.kill();

  const second = await startServer('local', folder);
  const stored = ITEMS.map(async ({ pk, sk }) => {
    const { body } = await second.send('GetItem', { TableName: 'kept', Key: { pk, sk } });
    return JSON.stringify(body) !== '{}';
  });
  // All items from the first on, up to some item.
  expect((await Promise.all(stored)).join()).toMatch(/^(true,?)*(false,?)*$/);
});

it('a deleted table of the stand-in is gone after a restart, and others are not', async () => {
  const folder = createFolder();
  const first = await startServer('local', folder);
  for (const TableName of ['one', 'one-more']) {
    await first.create(TableName);
    await first.send('PutItem', { TableName, Item: ITEMS[0] });
  }
  await first.remove('one');
  await first.end();
  const second = await startServer('local', folder);
  await second.create('one');
  expect(await second.send('Scan', { TableName: 'one' })).toMatchObject({ body: { Count: 0 } });
  expect(await second.send('Scan', { TableName: 'one-more' })).toMatchObject({ body: { Count: 1 } });
});
