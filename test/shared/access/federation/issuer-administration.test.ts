import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  createIssuerAdministration,
  type IssuerAdministration,
} from '../../../../shared/access/federation/issuer-administration.ts';
import {
  createIssuerFinder,
  type FederationRule,
  type FindIssuer,
} from '../../../../shared/access/federation/issuers.ts';
import { type AccessTable, startAccessTable } from '../access-table.ts';

let access: AccessTable;
let client: DynamoDBClient;
let issuers: IssuerAdministration;
let find: FindIssuer;
beforeAll(async () => {
  access = await startAccessTable();
  client = access.client;
  issuers = createIssuerAdministration({ client, name: 'access' });
  find = createIssuerFinder({ client, name: 'access' });
});
afterAll(() => access[Symbol.asyncDispose]());

const name = (issuer: string) => ({ providerId: 'provider-1', issuer, audience: 'lambent' });
const settings = (issuer: string) => ({
  ...name(issuer),
  enabled: true,
  keys: { discoveryUrl: issuer },
  attributes: {},
});
const makeRule = (id: string, sub = 'x'): FederationRule => ({
  id,
  tenant: 'acme',
  serviceAccount: 'svc-1',
  matchers: { sub },
  scopes: ['generate'],
});

it('an issuer is found by its name and audience, and its rules survive a change of its settings', async () => {
  expect(await issuers.trust(settings('https://a.example.com'))).toBe(true);
  await issuers.setRule(name('https://a.example.com'), makeRule('rule-1'));
  expect(await issuers.trust({ ...settings('https://a.example.com'), enabled: false })).toBe(true);
  expect(await find('https://a.example.com', 'lambent')).toEqual({
    ...settings('https://a.example.com'),
    enabled: false,
    rules: [makeRule('rule-1')],
  });
  expect(await find('https://a.example.com', 'other')).toBeUndefined();
});

it('two providers can not have the same issuer and audience', async () => {
  await issuers.trust(settings('https://b.example.com'));
  const other = { ...settings('https://b.example.com'), providerId: 'provider-2' };
  expect(await issuers.trust(other)).toBe(false);
  await issuers.setRule(other, makeRule('rule-1'));
  await issuers.distrust(other);
  expect(await find('https://b.example.com', 'lambent')).toMatchObject({ providerId: 'provider-1', rules: [] });
});

it('rules that many requests change at the same time are all kept', async () => {
  const issuer = 'https://c.example.com';
  await issuers.trust(settings(issuer));
  await Promise.all(['1', '2', '3', '4'].map((id) => issuers.setRule(name(issuer), makeRule(id))));
  await Promise.all([
    issuers.removeRule(name(issuer), '1'),
    issuers.setRule(name(issuer), makeRule('2', 'y')),
    issuers.removeRule(name(issuer), '3'),
  ]);
  const trust = await find(issuer, 'lambent');
  expect(trust?.rules.toSorted((one, other) => one.id.localeCompare(other.id))).toEqual([
    makeRule('2', 'y'),
    makeRule('4'),
  ]);
});

it('a rule of an issuer that is not trusted is not stored', async () => {
  await issuers.setRule(name('https://d.example.com'), makeRule('rule-1'));
  expect(await find('https://d.example.com', 'lambent')).toBeUndefined();
});

it('rules that do not fit into one item are refused', async () => {
  const issuer = 'https://e.example.com';
  await issuers.trust(settings(issuer));
  const rule = makeRule('rule-1', 'x'.repeat(200_000));
  await expect(issuers.setRule(name(issuer), rule)).rejects.toMatchObject({ code: 'invalid_value' });
});
