import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { STSClient } from '@aws-sdk/client-sts';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../infra/operate/admin/commands.ts';
import { FIELDS } from '../../infra/operate/admin/fields.ts';
import { listParameters } from '../../infra/operate/admin/path.ts';
import { runAdminCommand } from '../../infra/operate/admin.ts';
import { UsageError } from '../../infra/operate/command-line.ts';
import { type Listening, listen } from '../../local/listen.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

const OPERATOR = 'arn:aws:iam::123456789012:user/ada';

let service: Service;
/** CloudFormation and STS. */
let aws: Listening;
let endpoint: string;
beforeAll(async () => {
  service = await startService();
  // Answers GetCallerIdentity, and DescribeStacks for the stage `dev`, which has the service's URL.
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      if (body.includes('Action=GetCallerIdentity')) {
        response.end(
          `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>${OPERATOR}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`,
        );
        return;
      }
      if (body.includes('StackName=lambent-dev&') || body.endsWith('StackName=lambent-dev')) {
        response.end(
          `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>lambent-dev</StackName><Outputs><member><OutputKey>BaseUrl</OutputKey><OutputValue>${service.cloud.url}</OutputValue></member></Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
        );
        return;
      }
      response.statusCode = 400;
      response.end(
        '<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id lambent-other does not exist</Message></Error></ErrorResponse>',
      );
    });
  });
  aws = await listen(server, { port: 0 });
  endpoint = `http://127.0.0.1:${aws.port}`;
});
afterAll(async () => {
  await aws.close();
  await service[Symbol.asyncDispose]();
});

interface RunOptions {
  readonly adminKey?: string;
  /** Whether `npm start` runs. */
  readonly runs?: boolean;
  readonly recordFunction?: string;
  /** Gets the lines of the result. */
  readonly printed?: string[];
}

/** Runs a command. Returns the lines of its result and its notes. */
async function run(args: readonly string[], { adminKey, runs = true, recordFunction, printed = [] }: RunOptions = {}) {
  const notes: string[] = [];
  const { accessKeyId, secretAccessKey } = service.cloud.credentials;
  const credentials = { accessKeyId, secretAccessKey };
  const createOptions = (name: 'DYNAMODB' | 'LAMBDA') => {
    return { endpoint: service.cloud.endpoints[`AWS_ENDPOINT_URL_${name}`] ?? '', credentials, maxAttempts: 1 };
  };
  const readEnvironment = async () => {
    const text = await readFile(join(service.stateDir, 'env'), 'utf8');
    return recordFunction === undefined
      ? text
      : text.replace(/RECORD_FUNCTION=.*/, `RECORD_FUNCTION=${recordFunction}`);
  };
  await runAdminCommand(args, {
    localEnvironment: async () => (runs ? readEnvironment() : undefined),
    adminKey,
    readFile: async (path) => `{"models": {"mode": "deny", "models": ["${path}"]}}`,
    createClient: (config) => new DynamoDBClient({ ...createOptions('DYNAMODB'), ...config }),
    createLambda: (config) => new LambdaClient({ ...createOptions('LAMBDA'), ...config }),
    createSts: (config) => new STSClient({ endpoint, credentials, ...config }),
    cloudFormation: { endpoint, credentials, maxAttempts: 1 },
    print: (line) => void printed.push(line),
    note: (line) => void notes.push(line),
    now: Date.now,
  });
  return { printed, notes: notes.join('\n') };
}

/** Creates an object. Returns its id. */
async function create(resource: string, ...options: string[]): Promise<string> {
  const { printed } = await runLocally(resource, 'create', ...options, '--json');
  return JSON.parse(printed.join('\n')).id;
}

const runLocally = (...args: string[]) => run([...args, '--local']);

describe('npm run admin on the laptop', () => {
  it('a project, a service account and a key are made with three commands, and the key calls models', async () => {
    await runLocally('projects', 'create', '--name', 'Acme', '--id', 'acme');
    const { printed, notes } = await runLocally('service-accounts', 'create', '--project', 'acme', '--name', 'web-1');
    expect(printed).toEqual([expect.stringMatching(/^sk-svcacct-/)]);
    expect(notes).toContain('svc_acct_');
    expect(notes).not.toContain(printed[0]);
    await new OpenAI({ baseURL: service.cloud.url, apiKey: printed[0] ?? '' }).models.list();
    const [account] = /svc_acct_\w+/.exec(notes) ?? [''];
    const created = await runLocally(
      ...['keys', 'create', '--project', 'acme', '--account', account],
      ...['--scopes', 'models.read,responses.read', '--expires', '30d', '--json'],
    );
    const { id, created_at, expires_at } = JSON.parse(created.printed.join('\n'));
    expect(expires_at - created_at).toBe(30 * 86_400);
    const key = await runLocally('keys', 'get', id, '--project', 'acme');
    expect(key.printed).toContainEqual(expect.stringMatching(new RegExp(`^owner +${account}$`)));
    expect(key.printed).toContainEqual(expect.stringMatching(/^scopes +models\.read,responses\.read$/));
  });

  it('a service account for tokens is made without a key', async () => {
    const { printed } = await runLocally(
      ...['service-accounts', 'create', '--project', 'local', '--name', 'ci', '--without-key', 'true'],
    );
    expect(printed).toContainEqual(expect.stringMatching(/^role +none$/));
    expect(printed.join('\n')).not.toContain('sk-');
  });

  it('a list has all pages, as a table or as JSON', async () => {
    const { projects } = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local' }).admin.organization;
    for (let count = 0; count < 101; count += 1) await projects.create({ name: `p${count}` });
    const { printed } = await runLocally('projects', 'list');
    expect(printed[0]).toMatch(/^id +name +created_at +status/);
    expect(printed.filter((line) => / p\d+ /.test(line))).toHaveLength(101);
    const json = JSON.parse((await runLocally('projects', 'list', '--json')).printed.join('\n'));
    expect(json).toHaveLength(printed.length - 1);
  });

  it("a list of objects without ids, such as a project's groups, has all pages", async () => {
    const { groups, projects } = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local' }).admin
      .organization;
    const { id } = await projects.create({ name: 'Crowd' });
    for (let count = 0; count < 101; count += 1) {
      const group = await groups.create({ name: `g${count}` });
      await projects.groups.create(id, { group_id: group.id, role: 'reader' });
    }
    const { printed } = await runLocally('project-groups', 'list', '--project', id, '--json');
    const names = JSON.parse(printed.join('\n')).map((group: { group_name: string }) => group.group_name);
    expect(names.toSorted()).toEqual(Array.from({ length: 101 }, (_, count) => `g${count}`).toSorted());
  });

  it('a policy is set from text or a file, for the project and for the organization', async () => {
    await runLocally('policy', 'set', '--project', 'local', '--data', '@bedrock');
    const { printed } = await runLocally('model-permissions', 'get', '--project', 'local');
    expect(printed).toEqual(['mode       deny_list', 'model_ids  bedrock']);
    await runLocally('policy', 'set', '--project', 'local', '--data', '{"models": null}');
    expect((await runLocally('policy', 'get', '--project', 'local')).printed).toEqual([]);
    expect((await runLocally('policy', 'get')).printed).toEqual([]);
  });

  it('limits are set and removed, in dollars for money', async () => {
    const set = ['rate-limits', 'set', 'rl-lean', '--project', 'local'];
    const limited = await runLocally(...set, '--requests-per-minute', '5');
    expect(limited.printed).toContainEqual(expect.stringMatching(/^max_requests_per_1_minute +5$/));
    const removed = await runLocally(...set, '--requests-per-minute', 'none');
    expect(removed.printed).toContainEqual(expect.stringMatching(/^max_requests_per_1_minute +none$/));
    const spend = await runLocally('spend-limit', 'set', '--project', 'local', '--dollars', '12.50');
    expect(spend.printed).toContainEqual(expect.stringMatching(/^threshold_amount +12\.50$/));
    await runLocally('spend-limit', 'delete', '--project', 'local');
    await expect(runLocally('spend-limit', 'get', '--project', 'local')).rejects.toThrow('has no spend limit');
    for (const scope of [['--project', 'local'], []]) {
      const alert = await runLocally('spend-alerts', 'create', '--dollars', '10', ...scope, '--json');
      const { id } = JSON.parse(alert.printed.join('\n'));
      const updated = await runLocally('spend-alerts', 'update', id, '--dollars', '20', ...scope);
      expect(updated.printed).toContainEqual(expect.stringMatching(/^threshold_amount +20\.00$/));
      expect((await runLocally('spend-alerts', 'list', ...scope)).printed).toHaveLength(2);
      await runLocally('spend-alerts', 'delete', id, ...scope);
      expect((await runLocally('spend-alerts', 'list', ...scope)).printed).toHaveLength(0);
    }
  });

  it('people get roles in the organization and in a project', async () => {
    const issuer = ['--name', 'Staff', '--issuer', 'https://id.example.com', '--audience', 'lambent'];
    const provider = await create('identity-providers', ...issuer);
    const user = await create('users', '--email', 'ada@example.com', '--provider', provider);
    const group = await create('groups', '--name', 'Editors');
    const role = await create('roles', '--project', 'local', '--name', 'embedder', '--permissions', 'embeddings');
    await runLocally('group-users', 'add', '--group', group, '--user', user);
    await runLocally('project-groups', 'add', '--project', 'local', '--group', group, '--role', 'reader');
    await runLocally('project-users', 'add', '--project', 'local', '--email', 'ada@example.com', '--role', 'reader');
    await runLocally('user-roles', 'assign', '--user', user, '--project', 'local', '--role', role);
    await runLocally('group-roles', 'assign', '--group', group, '--role', 'role_reader');
    const roles = await runLocally('user-roles', 'list', '--user', user, '--project', 'local', '--json');
    expect(JSON.parse(roles.printed.join('\n')).map(({ id }: { id: string }) => id)).toEqual([role, 'role_reader']);
    expect((await runLocally('user-roles', 'list', '--user', user)).notes).toBe('Nothing was found.');
    const users = await runLocally('group-users', 'list', '--group', group);
    expect(users.printed).toEqual([expect.stringMatching(/^id +name/), expect.stringContaining('ada@example.com')]);
    await runLocally('roles', 'delete', role, '--project', 'local');
    await runLocally('users', 'delete', user);
    expect((await runLocally('users', 'list')).notes).toBe('Nothing was found.');
  });

  it('a federation rule is made from options and nested JSON', async () => {
    const issuer = ['--name', 'CI', '--issuer', 'https://ci.example.com', '--audience', 'lambent'];
    const data = '{"attribute_transformations": [{"attribute": "repo", "expression": "assertion.repository"}]}';
    const provider = await create('identity-providers', ...issuer, '--data', data);
    const account = await create('service-accounts', '--project', 'local', '--name', 'ci');
    const rule = await create(
      ...['federation-rules', '--provider', provider, '--project', 'local', '--account', account],
      ...['--name', 'main', '--data', '{"attribute_matchers": {"repo": "acme/site"}}'],
    );
    await runLocally('federation-rules', 'update', rule, '--provider', provider, '--enabled', 'false');
    const { printed } = await runLocally('federation-rules', 'get', rule, '--provider', provider);
    expect(printed).toContainEqual(expect.stringMatching(/^enabled +false$/));
    expect(printed).toContainEqual(expect.stringContaining('acme/site'));
  });

  it('usage and costs are tables, JSON or CSV, and the audit log has the acts', async () => {
    const client = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-local' });
    const chat = { model: 'lean', messages: [{ role: 'user' as const, content: 'Hello' }] };
    const { usage } = await client.chat.completions.create(chat);
    const byModel = ['usage', 'completions', '--by', 'project_id,model'];
    await waitUntil('the call is counted', async () => (await runLocally(...byModel)).printed.length > 1);
    const table = await runLocally(...byModel, '--since', '1d');
    expect(table.printed[0]).toMatch(/^start_time +end_time +input_tokens +output_tokens/);
    const row = new RegExp(`Z +${usage?.prompt_tokens} +${usage?.completion_tokens} .* local +lean$`);
    expect(table.printed[1]).toMatch(row);
    const csv = await runLocally('costs', 'list', '--by', 'line_item', '--csv', '--since', '9d');
    expect(csv.printed.join('\n').split('\r\n')[0]).toMatch(/^start_time,end_time,object,amount\.value/);
    const buckets = JSON.parse((await runLocally('costs', 'list', '--json', '--since', '9d')).printed.join('\n'));
    expect(buckets.length).toBeGreaterThan(8);
    await runLocally('projects', 'create', '--name', 'Audited');
    await waitUntil('the act is recorded', async () => {
      const { printed } = await runLocally('audit-logs', 'list', '--events', 'project.created');
      return / project\.created .*Audited/.test(printed.join('\n'));
    });
  });

  it('a hold and the key that a rotation replaces have their ends as times', async () => {
    await runLocally('projects', 'create', '--name', 'Held', '--id', 'held');
    const account = await runLocally('service-accounts', 'create', '--project', 'held', '--name', 'web', '--json');
    const { id } = JSON.parse(account.printed.join('\n')).api_key;
    const hold = await runLocally('holds', 'create', id, '--project', 'held');
    expect(hold.printed).toContainEqual(expect.stringMatching(/^held_until +\d{4}-\d\d-\d\dT/));
    const { notes } = await runLocally('keys', 'rotate', id, '--project', 'held');
    expect(notes).toMatch(new RegExp(`^replaces +{"id":"${id}","expires_at":"\\d{4}-`, 'm'));
  });

  it('a sender is created, changed, listed and deleted', async () => {
    const id = 'AROAEXAMPLEORDERS0001';
    const limits = ['--messages-per-minute', '60', '--messages-per-day', '1000'];
    const options = ['--projects', 'local', '--name', 'Orders', '--reply-queues', 'answers', ...limits];
    await runLocally('senders', 'create', '--id', id, ...options);
    const shown = await runLocally('senders', 'get', id);
    for (const line of [
      /^name +Orders$/,
      /^project_ids +local$/,
      /^reply_queues +answers$/,
      /^messages_per_day +1000$/,
    ])
      expect(shown.printed).toContainEqual(expect.stringMatching(line));
    const updated = await runLocally('senders', 'update', id, '--messages-per-day', 'none', '--expires', '30d');
    expect(updated.printed).toContainEqual(expect.stringMatching(/^messages_per_minute +60$/));
    expect(updated.printed).toContainEqual(expect.stringMatching(/^expires_at +\d{4}-/));
    expect(updated.printed.join('\n')).not.toContain('messages_per_day');
    expect((await runLocally('senders', 'list')).printed).toHaveLength(2);
    await runLocally('senders', 'delete', id);
    expect((await runLocally('senders', 'list')).notes).toBe('Nothing was found.');
  });

  it('data retention is set for a project and for the organization', async () => {
    const project = ['--project', 'local'];
    const set = await runLocally('data-retention', 'set', ...project, '--type', 'none');
    expect(set.printed).toContainEqual(expect.stringMatching(/^type +none$/));
    await runLocally('data-retention', 'set', ...project, '--type', 'organization_default');
    const read = await runLocally('data-retention', 'get', ...project);
    expect(read.printed).toContainEqual(expect.stringMatching(/^type +organization_default$/));
    await runLocally('data-retention', 'set', '--type', 'modified_abuse_monitoring');
    const organization = await runLocally('data-retention', 'get');
    expect(organization.printed).toContainEqual(expect.stringMatching(/^type +modified_abuse_monitoring$/));
    await expect(runLocally('data-retention', 'set', '--type', 'none')).rejects.toThrow(
      "the laptop: Invalid value: 'none'. Supported values are: 'zero_data_retention' and 'modified_abuse_monitoring'.",
    );
  });

  it("an error has the API's message", async () => {
    await expect(runLocally('projects', 'get', 'missing/../x')).rejects.toThrow(
      "the laptop: No project found with id 'missing/../x'.",
    );
    await expect(runLocally('projects', 'create', '--name', '')).rejects.toThrow("the laptop: Invalid 'name'");
    await expect(run(['projects', 'list', '--local'], { runs: false })).rejects.toThrow('start it with npm start');
  });

  it.each([
    [[], 'the resource is missing'],
    [['project'], "unknown resource 'project'; did you mean projects?"],
    [['projects'], 'the verb is missing: list, get, create, update, archive'],
    [['projects', 'lst'], "unknown verb 'lst'; did you mean list?"],
    [['projects', 'get'], 'the id is missing'],
    [['projects', 'create'], '--name is missing'],
    [['federation-rules', 'create', '--provider', 'p', '--project', 'x', '--account', 'y'], '--data is missing'],
    [['projects', 'list', 'x'], "projects list doesn't take 'x'"],
    [['projects', 'list', '--name', 'x'], 'projects list does not take --name'],
    [['keys', 'list'], '--project is missing'],
    [['policy', 'get', '--key', 'key_1'], '--project is missing'],
    [['policy', 'set', '--data', '[]'], '--data must be a JSON object'],
    [['keys', 'update', 'x', '--project', 'p', '--expires', 'soon'], "--expires has an invalid value: 'soon' (90d, 20"],
    [['keys', 'update', 'x', '--project', 'p', '--expires', '2027-02-31T99:00Z'], '--expires has an invalid value'],
    [['users', 'list', '--csv'], 'users list does not take --csv'],
    [['user-roles', 'list'], '--user is missing'],
    [['bootstrap', 'now'], "bootstrap takes only options, not 'now'"],
  ])('invalid arguments are refused before anything is requested: %j', async (args, message) => {
    await expect(run([...args, '--local'], { runs: false })).rejects.toThrow(UsageError);
    await expect(run([...args, '--local'], { runs: false })).rejects.toThrow(message);
  });

  /** Texts that options accept. Others accept `x`. */
  const TEXTS: Readonly<Record<string, string>> = {
    ...{ 'NUMBER|none': '1', SECONDS: '1', DOLLARS: '1', WHEN: '90d', TIME: '1d', 'true|false': 'true' },
    ...{ 'dev|production|sandbox': 'dev', '1m|1h|1d': '1d' },
  };

  it.each(COMMANDS.filter(({ fields = [] }) => fields.length > 0))(
    'the API knows all fields of the options of $name',
    async ({ name, path, fields = [], data, rename }) => {
      const options = new Set<string>([...listParameters(path).filter((each) => each !== 'id'), ...fields]);
      const isKnown = (option: string): option is keyof typeof FIELDS => Object.hasOwn(FIELDS, option);
      const args = [...options].flatMap((option) => {
        const text = (isKnown(option) && TEXTS[FIELDS[option].usage]) || (option === 'project' ? 'local' : 'x');
        return [`--${option}`, text];
      });
      const operand = path.includes('{id}') ? ['x'] : [];
      const result = runLocally(...name.split(' '), ...operand, ...args, ...(data ? ['--data', '{}'] : []));
      const message = await result.then(
        () => '',
        ({ message }: Error) => message,
      );
      expect(message).not.toMatch(/Unknown parameter|No route|Unknown request URL/);
      expect(Object.keys(rename ?? {}).filter((option) => !options.has(option))).toEqual([]);
    },
  );
});

describe('npm run admin on a stage', () => {
  async function bootstrap(...options: readonly string[]) {
    const { printed, notes } = await run(['bootstrap', '--name', 'first', ...options]);
    expect(printed).toEqual([expect.stringMatching(/^sk-admin-/)]);
    const { admin } = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: printed[0] ?? '' });
    return { admin: admin.organization, notes };
  }

  it('bootstrap makes an admin key with AWS credentials alone', async () => {
    const { admin, notes } = await bootstrap('--local');
    expect(notes).toContain('OPENAI_ADMIN_KEY');
    const keys = await admin.adminAPIKeys.list();
    expect(keys.data.map(({ name }) => name)).toContain('first');
    expect((await runLocally('bootstrap', '--expires', 'never')).notes).toContain('It never expires.');
    await expect(run(['bootstrap', '--stage', 'other'])).rejects.toThrow(
      'the stage other in eu-west-1: no table lambent-other-access or lambent-other-admin',
    );
  });

  it.each([
    { on: 'the laptop, which knows no operator', options: ['--local'], named: {} },
    { on: 'a stage, with its operator', options: ['--stage', 'local'], named: { operator: OPERATOR } },
  ])('bootstrap is recorded in the audit log of $on', async ({ options, named }) => {
    const { admin, notes } = await bootstrap(...options);
    const [id] = /key_\w+/.exec(notes) ?? [];
    const [event] = (await admin.auditLogs.list({ event_types: ['tenant.admin_api_key.created' as never] })).data;
    expect(event).toMatchObject({ actor: null, 'tenant.admin_api_key.created': { id, ...named } });
  });

  it('bootstrap prints the key, and fails, if that is not recorded', async () => {
    const printed: string[] = [];
    await expect(run(['bootstrap', '--local'], { printed, recordFunction: 'missing' })).rejects.toThrow(
      /^The key key_\w+ works, but its creation is not recorded in the audit log\. missing: .*not found/i,
    );
    expect(printed).toEqual([expect.stringMatching(/^sk-admin-/)]);
  });

  it('other commands use the URL of the stack and the key of OPENAI_ADMIN_KEY', async () => {
    const { printed } = await run(['projects', 'get', 'local', '--stage', 'dev'], { adminKey: 'sk-admin-local' });
    expect(printed).toContainEqual(expect.stringMatching(/^id +local$/));
    await expect(run(['projects', 'list', '--stage', 'dev'])).rejects.toThrow('Set OPENAI_ADMIN_KEY');
    await expect(run(['projects', 'list', '--stage', 'other'], { adminKey: 'x' })).rejects.toThrow('no such stack');
    await expect(run(['projects', 'list', '--stage', 'dev'], { adminKey: 'sk-local' })).rejects.toThrow(
      'lacks the scope `admin.projects.read`',
    );
    await expect(run(['projects', 'list'])).rejects.toThrow('set --stage, or --local');
  });
});
