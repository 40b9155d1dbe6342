import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  createUserFinder,
  getIdentity,
  type Identity,
  replaceUser,
  type TrustedUser,
} from '../../../../shared/access/federation/users.ts';
import { type AccessTable, startAccessTable } from '../access-table.ts';

let access: AccessTable;
let client: DynamoDBClient;
beforeAll(async () => {
  access = await startAccessTable();
  client = access.client;
});
afterAll(() => access[Symbol.asyncDispose]());

const named = (value: string): Identity => ({ providerId: 'provider-1', claim: 'subject', value });
const grant = (...scopes: string[]): TrustedUser => ({
  userId: 'user_1',
  subject: null,
  projects: [{ tenant: 'acme', scopes }],
});
const replace = (identity: Identity, compute: () => Promise<TrustedUser | undefined>, userId = 'user_1') =>
  replaceUser({ client, name: 'access' }, identity, userId, compute);
const find = (identity: Identity) => createUserFinder({ client, name: 'access' })(identity);

it('what was computed before a concurrent write is computed again', async () => {
  const identity = named('raced');
  await replace(identity, async () => grant('generate', 'embeddings'));
  let stored = grant('generate', 'embeddings');
  let calls = 0;
  await replace(identity, async () => {
    calls += 1;
    const seen = stored;
    if (calls > 1) return seen;
    // Another request takes a role away, and completes, after this one has read the roles.
    stored = grant('generate');
    await replace(identity, async () => stored);
    return seen;
  });
  expect(await find(identity)).toEqual(grant('generate'));
});

it('a user that is deleted during a change of its roles does not come back', async () => {
  const identity = named('deleted');
  await replace(identity, async () => grant('generate'));
  let isDeleted = false;
  await replace(identity, async () => {
    if (isDeleted) return undefined;
    isDeleted = true;
    await replace(identity, async () => undefined);
    return grant('generate');
  });
  expect(await find(identity)).toBeUndefined();
});

it('the identity of a user is not given to another', async () => {
  const identity = named('taken');
  await replace(identity, async () => grant('generate'));
  expect(await replace(identity, async () => ({ ...grant('embeddings'), userId: 'user_2' }), 'user_2')).toBe(false);
  expect(await replace(identity, async () => undefined, 'user_2')).toBe(false);
  expect(await find(identity)).toEqual(grant('generate'));
});

it('a token is of a user by its e-mail address only if the issuer has verified that', () => {
  const identify = (claims: object) => getIdentity('provider-1', { ...claims }, 'a');
  const email = { providerId: 'provider-1', claim: 'email', value: 'ada@example.com' };
  expect(identify({ email: 'Ada@example.com', email_verified: true })).toEqual(email);
  for (const email_verified of [undefined, false, 'true', 1])
    expect(identify({ email: 'ada@example.com', email_verified })).toEqual(named('a'));
});

it('a subject that looks like an e-mail address does not find the user with that address', async () => {
  await replace({ ...named('ada@example.com'), claim: 'email' }, async () => grant('generate'));
  expect(await find(named('ada@example.com'))).toBeUndefined();
});
