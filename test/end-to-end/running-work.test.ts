import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stayWithin, waitUntil } from '../wait.ts';
import { type Administrator, createAdministrator } from './administrator.ts';
import { type PricedService, startPricedService } from './priced-service.ts';

let service: PricedService;
let admin: Administrator;

beforeAll(async () => {
  service = await startPricedService();
  admin = createAdministrator(service);
});
afterEach(() => service.pauseAgain());
afterAll(() => service[Symbol.asyncDispose]());

const model = 'priced';
/** A call reserves about 0.0001 dollars. */
const BUDGET = { dollarsPerDay: 0.0006, answerTokens: 10 };

type Project = Awaited<ReturnType<Administrator['createProject']>>;

let spellings = 0;
/** Returns a client with a key. Its header differs from all before, because API Gateway caches what the authorizer returned for one. */
function connect({ value }: Project['key']): OpenAI {
  spellings += 1;
  const defaultHeaders = { authorization: `Bearer${' '.repeat(spellings)}${value}` };
  return new OpenAI({ baseURL: service.cloud.url, apiKey: value, maxRetries: 0, defaultHeaders });
}

const setLimits = ({ project }: Project, limits: object) => admin.send('POST', `${project}/policy`, { limits });

/** Calls a model with the project's other key until the project's budget is used up. */
async function useUpBudget({ other }: Project): Promise<void> {
  const client = connect(other);
  const call = () =>
    client.responses.create({ model, input: 'Hello', store: false }).then(
      () => undefined,
      (error: { code?: string; message: string }) => error,
    );
  const refused = await waitUntil('the budget is used up', call);
  expect(refused).toMatchObject({
    code: 'insufficient_quota',
    message: expect.stringContaining('dollarsPerDay of the project'),
  });
}

const CHANGES: [string, (project: Project) => Promise<unknown>, object][] = [
  [
    'its key is deleted',
    ({ project, key }) => admin.organization.projects.apiKeys.delete(key.id, { project_id: project }),
    { status: 401 },
  ],
  [
    'its key is held',
    ({ project, key }) => admin.send('POST', `${project}/key_holds/${key.id}`),
    { status: 403, code: 'key_held' },
  ],
  ['other calls use up its budget', useUpBudget, { status: 429, code: 'insufficient_quota' }],
];

describe.each(CHANGES)('if %s', (_, change, refused) => {
  it('a running stream ends normally, and the next call is refused', async () => {
    await stayWithin('day');
    const project = await admin.createProject();
    await setLimits(project, BUDGET);
    const request = { model, input: 'Answer slowly', store: false };
    const stream = await connect(project.key).responses.create({ ...request, stream: true });
    const events = stream[Symbol.asyncIterator]();
    const types: string[] = [];
    const read = async () => {
      const { done, value } = await events.next();
      if (!done) types.push(value.type);
      return !done;
    };
    while (!types.includes('response.output_text.delta')) expect(await read()).toBe(true);
    await change(project);
    await expect(connect(project.key).responses.create(request)).rejects.toMatchObject(refused);
    expect(types).not.toContain('response.completed');
    service.release();
    while (await read());
    expect(types.at(-1)).toBe('response.completed');
  });
});
