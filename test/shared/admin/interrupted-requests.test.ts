import { CreateTableCommand, DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTables, type Tables } from '../../../local/tables.ts';
import { createKeyedTable, createTableInput } from '../../tables.ts';
import { createAdministration, type Ids } from './administration.ts';

let tables: Tables;
beforeAll(async () => {
  tables = await startTables({});
});
afterAll(() => tables.close());

const START = Date.parse('2027-01-31T12:00:00Z');
let services = 0;

/** The administration with tables of its own, whose function can be killed at a write. */
async function startAdministration() {
  services += 1;
  const client = new DynamoDBClient({
    endpoint: tables.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  const [admin, access] = [`admin-${services}`, `access-${services}`];
  await client.send(new CreateTableCommand(createTableInput(admin)));
  await createKeyedTable(client, access);

  let writes = 0;
  let kill: { readonly write: number; readonly when: 'before' | 'after' } | undefined;
  let isDead = false;
  client.middlewareStack.add(
    (next, context) => async (args) => {
      if (isDead) throw new Error('killed');
      const isWrite = /^(Put|Update|Delete)Item/.test(String(context['commandName']));
      if (isWrite) writes += 1;
      const isLast = isWrite && writes === kill?.write;
      isDead = isLast && kill?.when === 'before';
      if (isDead) throw new Error('killed');
      const result = await next(args);
      isDead = isLast;
      if (isDead) throw new Error('killed');
      return result;
    },
    { step: 'initialize' },
  );

  let now = START;
  return {
    request: createAdministration(client, { admin, access }, () => now),
    /** Lets a second pass, so that ids of later objects have another time. */
    wait: () => {
      now += 1_000;
    },
    /** Counts writes from here, and kills the function at one of them. */
    killAt(write: number, when: 'before' | 'after') {
      writes = 0;
      kill = { write, when };
    },
    restart() {
      kill = undefined;
      isDead = false;
      writes = 0;
    },
    countWrites: () => writes,
    /** Returns what is stored, with the names of `ids` and other ids masked, because each run has others. */
    async read(ids: Ids): Promise<string[]> {
      const scans = [admin, access].map((TableName) => client.send(new ScanCommand({ TableName })));
      const items = (await Promise.all(scans)).flatMap(({ Items = [] }) => Items);
      const mask = (text: string) =>
        Object.entries(ids)
          .reduce((masked, [name, id]) => masked.replaceAll(id, `<${name}>`), text)
          .replaceAll(/(key|svc_acct|group|role|user|proj|idpr?)_[0-9a-f]{28}/g, '<other>')
          .replaceAll(/(key|user)#[0-9a-f]{64}/g, '<hash>')
          .replaceAll(/-\.\.\.\w{4}/g, '');
      return items.map(({ version: _, revision: __, ...item }) => mask(JSON.stringify(item))).sort();
    },
    close: () => client.destroy(),
  };
}
type Administration = Awaited<ReturnType<typeof startAdministration>>;

/**
 * Creates a project with two keys of a service account, a role, a user who has the role by a group and by itself, and a federation
 * rule that names the role.
 */
async function createObjects({ request }: Administration): Promise<Ids> {
  const project = (await request('POST /v1/organization/projects', {}, { name: 'Acme', id: 'acme' })).id;
  const accounts = '/v1/organization/projects/{project}/service_accounts';
  const { id: account, api_key } = await request(`POST ${accounts}`, { project }, { name: 'web' });
  await request(`POST ${accounts}/{account}/api_keys`, { project, account });
  const oidc = { type: 'oidc', name: 'Staff', issuer: 'https://id.example.com', audience: 'lambent' };
  const provider = await request('POST /v1/organization/workload_identity_providers', {}, oidc);
  const person = { email: 'ada@example.com', identity_provider_id: provider.id, subject: 'ada' };
  const user = (await request('POST /v1/organization/users', {}, person)).id;
  const group = (await request('POST /v1/organization/groups', {}, { name: 'Editors' })).id;
  await request('POST /v1/organization/groups/{group}/users', { group }, { user_id: user });
  const custom = { role_name: 'custom', permissions: ['embeddings', 'models.read'] };
  const role = (await request('POST /v1/projects/{project}/roles', { project }, custom)).id;
  await request('POST /v1/organization/projects/{project}/users', { project }, { user_id: user, role });
  await request('POST /v1/organization/projects/{project}/groups', { project }, { group_id: group, role: 'reader' });
  await request('POST /v1/projects/{project}/groups/{group}/roles', { project, group }, { role_id: role });
  const rules = '/v1/organization/workload_identity_providers/{provider}/federation_rules';
  const matchers = { attribute_matchers: { team: 'search' }, project_id: project, service_account_id: account };
  const permissions = { type: 'restricted', scopes: ['generate', role] };
  const federated = { ...matchers, permissions };
  const rule = (await request(`POST ${rules}`, { provider: provider.id }, federated)).id;
  const sender = (await request('POST /v1/organization/senders', {}, { ...SENDER, id: 'AROAEXAMPLEORDERS0001' })).id;
  return { sender, project, account, key: api_key?.id ?? '', provider: provider.id, rule, user, group, role };
}

const SENDER = { id: 'AROAEXAMPLEBILLING001', project_ids: ['acme'] };
const PROJECT = '/v1/organization/projects/{project}';
const PROVIDER = '/v1/organization/workload_identity_providers/{provider}';
const RULE = `${PROVIDER}/federation_rules/{rule}`;
const models = { models: { mode: 'allow', models: ['lean'] } };
/** Requests, by what they do. A repeated one may be refused, because the interrupted one was complete. */
const REQUESTS: readonly (readonly [name: string, route: string, body?: unknown])[] = [
  ['the rotation of a key', `POST ${PROJECT}/api_keys/{key}/rotate`, { overlap_seconds: 60 }],
  ['a change of a key', `POST ${PROJECT}/api_keys/{key}`, { scopes: ['embeddings'], expires_in_seconds: 60 }],
  ['a grant to a key', `POST ${PROJECT}/api_keys/{key}`, { expires_in_seconds: null }],
  ['the deletion of a key', `DELETE ${PROJECT}/api_keys/{key}`],
  ['the policy of a key', `POST ${PROJECT}/api_keys/{key}/policy`, models],
  ['the deletion of a service account', `DELETE ${PROJECT}/service_accounts/{account}`],
  ['the archiving of a project', `POST ${PROJECT}/archive`],
  ['the creation of a project', 'POST /v1/organization/projects', { name: 'Shop', id: 'shop', environment: 'sandbox' }],
  ['a change of a project', `POST ${PROJECT}`, { environment: 'sandbox' }],
  ['a change of a project that limits it less', `POST ${PROJECT}`, { environment: 'production' }],
  ['the policy of a project', `POST ${PROJECT}/policy`, models],
  ['model permissions', `POST ${PROJECT}/model_permissions`, { mode: 'allow_list', model_ids: ['lean'] }],
  ['a narrower role', 'POST /v1/projects/{project}/roles/{role}', { permissions: ['models.read'] }],
  ['a wider role', 'POST /v1/projects/{project}/roles/{role}', { permissions: ['generate', 'embeddings'] }],
  ['the deletion of a role', 'DELETE /v1/projects/{project}/roles/{role}'],
  ['a change of a federation rule', `POST ${RULE}`, { permissions: { type: 'restricted', scopes: ['role_member'] } }],
  ['the deletion of a federation rule', `DELETE ${RULE}`],
  ['another issuer', `POST ${PROVIDER}`, { issuer: 'https://new.example.com' }],
  ['a provider that is switched off', `POST ${PROVIDER}`, { enabled: false }],
  ['the roles of a user', 'POST /v1/organization/users/{user}/roles', { role_id: 'role_owner' }],
  ['the removal of a user from a project', `DELETE ${PROJECT}/users/{user}`],
  ['the removal of a user from a group', 'DELETE /v1/organization/groups/{group}/users/{user}'],
  ['the deletion of a user', 'DELETE /v1/organization/users/{user}'],
  ['the removal of a group from a project', `DELETE ${PROJECT}/groups/{group}`],
  ['the creation of a sender', 'POST /v1/organization/senders', SENDER],
  ['a change of a sender', 'POST /v1/organization/senders/{sender}', { reply_queues: ['*'], messages_per_day: 3 }],
  ['the deletion of a sender', 'DELETE /v1/organization/senders/{sender}'],
  ['the deletion of a group', 'DELETE /v1/organization/groups/{group}'],
];

const CASES = REQUESTS.map(([name, route, body]) => ({ name, route, body }));

describe('a request that a crash interrupted', () => {
  it.each(CASES)('$name is completed by its repetition, whichever write was the last', async ({ route, body }) => {
    const run = async (write: number, when: 'before' | 'after') => {
      const administration = await startAdministration();
      const ids = await createObjects(administration);
      administration.wait();
      administration.killAt(write, when);
      const first = await administration.request(route, ids, body).then(
        () => undefined,
        (thrown: Error) => thrown.message,
      );
      const count = administration.countWrites();
      if (first !== undefined) {
        expect(first).toBe('killed');
        administration.restart();
        await administration.request(route, ids, body).catch((thrown) => {
          expect(thrown).toMatchObject({ code: expect.stringMatching(/^(not_found|invalid_value)$/) });
        });
      }
      const after = await administration.read(ids);
      administration.close();
      return { count, after };
    };
    const undisturbed = await run(Number.POSITIVE_INFINITY, 'before');
    expect(undisturbed.count).toBeGreaterThan(0);
    for (let write = 1; write <= undisturbed.count; write += 1)
      for (const when of ['before', 'after'] as const) {
        const { after } = await run(write, when);
        expect(after, `${when} write ${write} of ${undisturbed.count}`).toEqual(undisturbed.after);
      }
  });
});
