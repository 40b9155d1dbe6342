import { beforeEach, describe, expect, it } from 'vitest';
import { LIMIT_PRESETS } from '../../../shared/access/limit-policy.ts';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { interleave, startInterleaving } from './interleave.ts';

const PROJECTS = '/v1/organization/projects';
const PROJECT = `${PROJECTS}/{project}`;

let world: Awaited<ReturnType<typeof startInterleaving>>;
let policies: ReturnType<typeof createPolicyAdministration>;
let project: string;
let count = 0;
beforeEach(async () => {
  world = await startInterleaving();
  policies = createPolicyAdministration(world.client, 'access');
});

const ENVIRONMENTS = ['dev', 'production', 'sandbox', undefined] as const;
type Environment = (typeof ENVIRONMENTS)[number];

/** Steps of requests that create or change a project. */
const STEPS = [
  ['after', 'GetItemCommand', '"admin"'],
  ['after', 'GetItemCommand', '"access"'],
  ['before', 'UpdateItemCommand', '"access"'],
  ['after', 'UpdateItemCommand', '"access"'],
  ['before', 'PutItemCommand', '"admin"'],
  ['after', 'PutItemCommand', '"admin"'],
] as const;

/** Expects that the project is restricted by the preset of the environment that it shows, or as `other` says if it has none. */
async function expectPreset(label: string, other: object = {}): Promise<void> {
  const shown = await world.request(`GET ${PROJECT}`, { project });
  const environment = ENVIRONMENTS.find((each) => each === Reflect.get(shown, 'environment'));
  const { restrictions } = await policies.readProject(project);
  expect(restrictions, `${label}: ${environment}`).toEqual(
    environment ? { limits: LIMIT_PRESETS[environment], ...(environment === 'sandbox' && { readOnly: true }) } : other,
  );
}

/** Runs `act` with each pair of environments, and a new project's name. */
async function forEachPair(act: (one: Environment, other: Environment) => Promise<void>): Promise<void> {
  for (const one of ENVIRONMENTS)
    for (const other of ENVIRONMENTS) {
      count += 1;
      project = `project-${count}`;
      await act(one, other);
    }
}

const CASES = STEPS.map(([when, command, text]) => ({ when, command, text }));

describe('two requests for an environment at the same time', () => {
  it.each(CASES)(
    'of two creations, one $when $command of $text of the other, one succeeds, and restricts the project',
    async ({ when, command, text }) => {
      await forEachPair(async (one, other) => {
        const create = (name: string, environment: Environment) =>
          world.request(`POST ${PROJECTS}`, {}, { id: project, name, environment });
        let second: Promise<unknown> = Promise.resolve();
        const end = interleave(world.client, when, command, text, async () => {
          second = create('second', other);
          await second.catch(() => {});
        });
        const results: PromiseSettledResult<unknown>[] = await Promise.allSettled([create('first', one)]);
        end();
        results.push(...(await Promise.allSettled([second])));
        const codes = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
        expect(['', 'invalid_value']).toContain(codes.join());
        await expectPreset(`${one} and ${other}`);
      });
    },
  );

  it.each(CASES)(
    'of two changes, one $when $command of $text of the other, the project shows the enforced one',
    async ({ when, command, text }) => {
      await forEachPair(async (one, other) => {
        await world.request(`POST ${PROJECTS}`, {}, { id: project, name: 'Acme', environment: 'dev' });
        const change = (environment: Environment) => world.request(`POST ${PROJECT}`, { project }, { environment });
        const end = interleave(world.client, when, command, text, () => change(other));
        await change(one);
        end();
        await expectPreset(`${one} and ${other}`);
      });
    },
  );
});

it('a creation that is refused leaves the limits of a project without an environment that was created meanwhile', async () => {
  project = 'acme';
  const limits = { requestsPerMinute: 7 };
  await policies.changeProject(project, (each) => ({ ...each, restrictions: { limits } }));
  const body = { id: project, name: 'Acme' };
  interleave(world.client, 'before', 'PutItemCommand', '"admin"', () => world.request(`POST ${PROJECTS}`, {}, body));
  const second = world.request(`POST ${PROJECTS}`, {}, { ...body, environment: 'sandbox' });
  await expect(second).rejects.toMatchObject({ code: 'invalid_value', param: 'id' });
  await expectPreset('', { limits });
});

it('a project that a crash leaves before its new environment is shown has no permission or limit of it yet', async () => {
  project = 'acme';
  await world.request(`POST ${PROJECTS}`, {}, { id: project, name: 'Acme', environment: 'sandbox' });
  const kill = () => Promise.reject(new Error('killed'));
  interleave(world.client, 'before', 'PutItemCommand', '"admin"', kill);
  const change = () => world.request(`POST ${PROJECT}`, { project }, { environment: 'production' });
  await expect(change()).rejects.toThrow('killed');
  await expectPreset('before');
  await change();
  await expectPreset('after');
});
