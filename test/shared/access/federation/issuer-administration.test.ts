import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  createIssuerAdministration,
  type IssuerAdministration,
  type IssuerSettings,
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

const trust = (trusted: IssuerSettings) => issuers.apply(trusted, async () => trusted);
const setRule = (issuer: string, rule: FederationRule) =>
  issuers.replaceRules(name(issuer), [rule.id], async () => [rule]);
const removeRule = (issuer: string, id: string) => issuers.replaceRules(name(issuer), [id], async () => []);

it('an issuer is found by its name and audience, and its rules survive a change of its settings', async () => {
  expect(await trust(settings('https://a.example.com'))).toBeUndefined();
  await setRule('https://a.example.com', makeRule('rule-1'));
  expect(await trust({ ...settings('https://a.example.com'), enabled: false })).toBeUndefined();
  expect(await find('https://a.example.com', 'lambent')).toEqual({
    ...settings('https://a.example.com'),
    enabled: false,
    rules: [makeRule('rule-1')],
  });
  expect(await find('https://a.example.com', 'other')).toBeUndefined();
});

it('two providers can not have the same issuer and audience', async () => {
  await trust(settings('https://b.example.com'));
  const other = { ...settings('https://b.example.com'), providerId: 'provider-2' };
  expect(await trust(other)).toBe('provider-1');
  expect(await issuers.reserve(other)).toBe('provider-1');
  await issuers.replaceRules(other, ['rule-1'], async () => [makeRule('rule-1')]);
  await issuers.suspend(other);
  await issuers.apply(other, async () => undefined);
  expect(await find('https://b.example.com', 'lambent')).toMatchObject({
    ...{ providerId: 'provider-1', enabled: true, rules: [] },
  });
});

it('rules that many requests change at the same time are all kept', async () => {
  const issuer = 'https://c.example.com';
  await trust(settings(issuer));
  await Promise.all(['1', '2', '3', '4'].map((id) => setRule(issuer, makeRule(id))));
  await Promise.all([removeRule(issuer, '1'), setRule(issuer, makeRule('2', 'y')), removeRule(issuer, '3')]);
  const trusted = await find(issuer, 'lambent');
  expect(trusted?.rules.toSorted((one, other) => one.id.localeCompare(other.id))).toEqual([
    makeRule('2', 'y'),
    makeRule('4'),
  ]);
});

it('rules are computed again after another request changed their issuer', async () => {
  const issuer = 'https://f.example.com';
  await trust(settings(issuer));
  const subjects = ['before', 'after'];
  await issuers.replaceRules(name(issuer), ['rule-1'], async () => {
    const sub = subjects.shift();
    if (sub === 'before') await setRule(issuer, makeRule('rule-2'));
    return [makeRule('rule-1', sub)];
  });
  const trusted = await find(issuer, 'lambent');
  expect(trusted?.rules).toEqual([makeRule('rule-2'), makeRule('rule-1', 'after')]);
});

it('a rule of an issuer that is not trusted is not stored', async () => {
  await setRule('https://d.example.com', makeRule('rule-1'));
  expect(await find('https://d.example.com', 'lambent')).toBeUndefined();
});

it('rules that do not fit into one item are refused', async () => {
  const issuer = 'https://e.example.com';
  await trust(settings(issuer));
  const rule = makeRule('rule-1', 'x'.repeat(200_000));
  await expect(setRule(issuer, rule)).rejects.toMatchObject({ code: 'invalid_value' });
});

it('an issuer is not trusted while it is reserved or suspended, and has no rules after that', async () => {
  const reserved = settings('https://g.example.com');
  expect(await issuers.reserve(reserved)).toBe('provider-1');
  expect(await find('https://g.example.com', 'lambent')).toMatchObject({ enabled: false });
  await trust(reserved);
  await setRule('https://g.example.com', makeRule('rule-1'));
  await issuers.suspend(reserved);
  await issuers.reserve(reserved);
  expect(await find('https://g.example.com', 'lambent')).toMatchObject({ enabled: false });
  await trust(reserved);
  expect(await find('https://g.example.com', 'lambent')).toEqual({ ...reserved, rules: [] });
});

it('settings that do not fit into one item with the rules of the provider are refused when they are reserved', async () => {
  await trust(settings('https://h.example.com'));
  await setRule('https://h.example.com', makeRule('rule-1', 'x'.repeat(150_000)));
  const moved = { ...settings('https://i.example.com'), keys: { jwks: { keys: ['x'.repeat(60_000)] } } };
  const reserve = issuers.reserve(moved, settings('https://h.example.com'));
  await expect(reserve).rejects.toMatchObject({ code: 'invalid_value' });
  expect(await find('https://i.example.com', 'lambent')).toBeUndefined();
});

it('an issuer that is removed while it is applied stays removed', async () => {
  const removed = settings('https://j.example.com');
  let isStored = true;
  await issuers.apply(removed, async () => {
    if (!isStored) return undefined;
    isStored = false;
    // It finds nothing to remove yet.
    await issuers.apply(removed, async () => undefined);
    return removed;
  });
  expect(await find('https://j.example.com', 'lambent')).toBeUndefined();
});

it('rules are refused whose text has too many bytes for an item, though not too many characters', async () => {
  const issuer = 'https://large.example.com';
  await trust(settings(issuer));
  await setRule(issuer, makeRule('rule-1', '语'.repeat(66_000)));
  const refused = setRule(issuer, makeRule('rule-2', '语'.repeat(100_000)));
  await expect(refused).rejects.toMatchObject({ code: 'invalid_value' });
  expect((await find(issuer, 'lambent'))?.rules).toEqual([makeRule('rule-1', '语'.repeat(66_000))]);
});
