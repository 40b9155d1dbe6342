import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, it } from 'vitest';
import { getIssuerPartition, parseIssuerItem } from '../../../shared/access/federation/issuers.ts';
import { interleave, killAt, startInterleaving } from './interleave.ts';

const PROVIDERS = '/v1/organization/workload_identity_providers';
const PROVIDER = `${PROVIDERS}/{provider}`;
const toUrl = (name: string) => `https://${name}.example.com`;

let world: Awaited<ReturnType<typeof startInterleaving>>;
let project: string;
let account: string;
let count = 0;
beforeEach(async () => {
  world = await startInterleaving();
  project = (await world.request('POST /v1/organization/projects', {}, { name: 'Acme', id: 'acme' })).id;
  const body = { name: 'ci', create_service_account_only: false };
  account = (await world.request('POST /v1/organization/projects/{project}/service_accounts', { project }, body)).id;
});

type Request = typeof world.request;
interface Act {
  readonly name: string;
  readonly run: (request: Request, provider: string) => Promise<unknown>;
}
const update = (name: string, body: () => object): Act => ({
  name,
  run: (request, provider) => request(`POST ${PROVIDER}`, { provider }, body()),
});
const ACTS: readonly Act[] = [
  update('the issuer a', () => ({ issuer: toUrl(`a-${count}`) })),
  update('the issuer b', () => ({ issuer: toUrl(`b-${count}`) })),
  update('another audience', () => ({ audience: 'other' })),
  update('a switch off', () => ({ enabled: false })),
  { name: 'the deletion', run: (request, provider) => request(`DELETE ${PROVIDER}`, { provider }) },
];

/** Steps of requests that change a provider. */
const STEPS = [
  { when: 'after', command: 'GetItemCommand', text: '"admin"' },
  { when: 'after', command: 'PutItemCommand', text: '"access"' },
  { when: 'before', command: 'PutItemCommand', text: '"admin"' },
  { when: 'after', command: 'PutItemCommand', text: '"admin"' },
  { when: 'before', command: 'PutItemCommand', text: String.raw`\"enabled\":true` },
  { when: 'after', command: 'DeleteItemCommand', text: '"access"' },
] as const;
type Step = (typeof STEPS)[number];

async function createProvider(): Promise<string> {
  count += 1;
  const oidc = { type: 'oidc', name: 'CI', issuer: toUrl(`old-${count}`), audience: 'lambent' };
  return (await world.request(`POST ${PROVIDERS}`, {}, oidc)).id;
}

/** Returns the issuers that the authorizer trusts of a provider. */
async function listTrusted(provider: string) {
  const { Items = [] } = await world.client.send(new ScanCommand({ TableName: 'access' }));
  const issuers = Items.filter(({ pk }) => pk?.S?.startsWith(getIssuerPartition('', '').slice(0, 7)));
  const all = issuers.map((item) => parseIssuerItem(item).trust);
  return all
    .filter((trust) => trust.enabled && trust.providerId === provider)
    .map(({ issuer, audience }) => ({ issuer, audience }));
}

/** Expects that exactly the issuer is trusted that the API shows, and none after the provider's deletion. */
async function expectShown(provider: string, label: string): Promise<void> {
  const shown = await world.request(`GET ${PROVIDER}`, { provider }).catch(({ code }) => {
    expect(code).toBe('not_found');
  });
  const { issuer, audience, enabled } = { issuer: '', audience: '', enabled: false, ...shown };
  expect(await listTrusted(provider), label).toEqual(enabled ? [{ issuer, audience }] : []);
  if (shown) await world.request(`DELETE ${PROVIDER}`, { provider });
  expect(await listTrusted(provider), label).toEqual([]);
}

/** Errors that a client repeats, or that say that the provider is deleted. */
function ignoreRefusal({ code, message }: { readonly code?: string; readonly message?: string }): void {
  if (message !== 'killed') expect(code).toMatch(/^(overloaded|not_found)$/);
}

describe.each(STEPS)('two changes of a provider, one $when $command with $text of the other', (step: Step) => {
  it.each(ACTS)('the authorizer trusts what the API shows: $name', async ({ run }) => {
    for (const other of ACTS) {
      const provider = await createProvider();
      const end = interleave(world.client, step.when, step.command, step.text, () =>
        other.run(world.request, provider).catch(ignoreRefusal),
      );
      await run(world.request, provider).catch(ignoreRefusal);
      end();
      await expectShown(provider, other.name);
    }
  });

  it.each(ACTS)('also if the other is killed and repeated: $name', async ({ run }) => {
    for (const other of ACTS.filter(({ name }) => name !== 'the issuer a'))
      for (let write = 1, isKilled = true; isKilled; write += 1) {
        const provider = await createProvider();
        const [first, second] = [world.connect(), world.connect()];
        const countWrites = killAt(second.client, write);
        interleave(first.client, step.when, step.command, step.text, () =>
          other.run(second.request, provider).catch(ignoreRefusal),
        );
        await run(first.request, provider).catch(ignoreRefusal);
        isKilled = countWrites() === write;
        if (isKilled) await other.run(world.request, provider).catch(ignoreRefusal);
        await expectShown(provider, `${other.name}, killed at write ${write}`);
      }
  });
});

describe('the issuer of a provider', () => {
  it('a creation that a crash interrupts is completed by the next request for the issuer', async () => {
    const oidc = { type: 'oidc', name: 'CI', issuer: toUrl('new'), audience: 'lambent' };
    for (let write = 1, isKilled = true; isKilled; write += 1) {
      const audience = `audience-${write}`;
      const killed = world.connect();
      const countWrites = killAt(killed.client, write);
      const body = { ...oidc, audience };
      const created = await killed.request(`POST ${PROVIDERS}`, {}, body).catch(ignoreRefusal);
      isKilled = countWrites() === write;
      if (isKilled)
        await world.request(`POST ${PROVIDERS}`, {}, body).catch(({ param }) => expect(param).toBe('issuer'));
      const { data } = { data: [], ...(await world.request(`GET ${PROVIDERS}`, {})) } as {
        data: (typeof oidc & { id: string })[];
      };
      const shown = data.filter((each) => each.audience === audience);
      expect(shown).toHaveLength(1);
      expect(await listTrusted(shown[0]?.id ?? '')).toEqual([{ issuer: oidc.issuer, audience }]);
      if (!isKilled) expect(created).toMatchObject({ id: shown[0]?.id });
    }
  });

  it.each(STEPS)(
    'of two providers that get the same issuer, one $when $command with $text, one has it',
    async (step) => {
      const [one, other] = [await createProvider(), await createProvider()];
      const body = { issuer: toUrl('same') };
      const results: unknown[] = [];
      const move = (provider: string) =>
        world.request(`POST ${PROVIDER}`, { provider }, body).then(
          () => results.push('moved'),
          ({ code }) => results.push(code),
        );
      const end = interleave(world.client, step.when, step.command, step.text, () => move(other));
      await move(one);
      end();
      if (results.length < 2) await move(other);
      expect(results.toSorted()).toEqual(['invalid_value', 'moved']);
      const trusted = [...(await listTrusted(one)), ...(await listTrusted(other))];
      expect(trusted.filter(({ issuer }) => issuer === body.issuer)).toEqual([{ ...body, audience: 'lambent' }]);
      await expectShown(one, 'one');
      await expectShown(other, 'other');
    },
  );

  it('an issuer that a killed request has reserved can be that of another provider', async () => {
    const [one, other] = [await createProvider(), await createProvider()];
    const killed = world.connect();
    killAt(killed.client, 1);
    const body = { issuer: toUrl('reserved') };
    await expect(killed.request(`POST ${PROVIDER}`, { provider: one }, body)).rejects.toThrow('killed');
    expect(await world.request(`POST ${PROVIDER}`, { provider: other }, body)).toMatchObject(body);
    await expectShown(other, 'other');
    await expectShown(one, 'one');
  });

  it('a rule that is deleted while the issuer changes is not enforced if the change is undone meanwhile', async () => {
    const rules = `${PROVIDER}/federation_rules`;
    const target = { project_id: project, service_account_id: account, attribute_matchers: { team: 'first' } };
    const provider = await createProvider();
    const { id: rule } = await world.request(`POST ${rules}`, { provider }, target);
    const end = interleave(world.client, 'after', 'PutItemCommand', toUrl('there'), async () => {
      await world.request(`DELETE ${rules}/{rule}`, { provider, rule });
      await world.request(`POST ${PROVIDER}`, { provider }, { issuer: toUrl(`old-${count}`) }).catch(ignoreRefusal);
    });
    await world.request(`POST ${PROVIDER}`, { provider }, { issuer: toUrl('there') }).catch(ignoreRefusal);
    end();
    const { Items = [] } = await world.client.send(new ScanCommand({ TableName: 'access' }));
    const enforced = Items.filter(({ json }) => json?.S?.includes(provider)).flatMap(
      (item) => parseIssuerItem(item).trust.rules,
    );
    expect(enforced).toEqual([]);
  });

  it('rules that are created and removed while the issuer changes are those that are shown', async () => {
    const rules = `${PROVIDER}/federation_rules`;
    const target = { project_id: project, service_account_id: account };
    for (const { when, command, text } of STEPS) {
      const provider = await createProvider();
      const create = (team: string) =>
        world.request(`POST ${rules}`, { provider }, { ...target, attribute_matchers: { team } });
      const { id: rule } = await create('first');
      const end = interleave(world.client, when, command, text, async () => {
        await create('second');
        await world.request(`DELETE ${rules}/{rule}`, { provider, rule });
      });
      await world.request(`POST ${PROVIDER}`, { provider }, { issuer: toUrl(`moved-${count}`) });
      end();
      const { Items = [] } = await world.client.send(new ScanCommand({ TableName: 'access' }));
      const teams = Items.filter(({ json }) => json?.S?.includes(provider)).map((item) =>
        parseIssuerItem(item).trust.rules.map(({ matchers }) => matchers['team']),
      );
      expect(teams, `${when} ${command} ${text}`).toEqual([['second']]);
    }
  });
});
