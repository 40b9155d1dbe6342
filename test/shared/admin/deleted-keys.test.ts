import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { unmarshall } from '../../../shared/aws/attributes.ts';
import { interleave, startInterleaving } from './interleave.ts';

type World = Awaited<ReturnType<typeof startInterleaving>>;

const PROJECT = '/v1/organization/projects/{project}';
const project = 'acme';

const KINDS = {
  'an admin key': {
    create: ({ request }: World) => request('POST /v1/organization/admin_api_keys', {}, { name: 'ada' }),
    list: ({ request }: World) => request('GET /v1/organization/admin_api_keys', {}),
    remove: ({ request }: World, key: string) => request('DELETE /v1/organization/admin_api_keys/{key}', { key }),
  },
  'a key of a project': {
    create: ({ request }: World) => request(`POST ${PROJECT}/service_accounts`, { project }, { name: 'web' }),
    list: ({ request }: World) => request(`GET ${PROJECT}/api_keys`, { project }),
    remove: ({ request }: World, key: string) => request(`DELETE ${PROJECT}/api_keys/{key}`, { project, key }),
  },
};
const MOMENTS = [
  ['after', '"admin"', 'it is stored'],
  ['before', '"access"', 'the authorizer may accept it'],
  ['after', '"access"', 'the authorizer accepts it'],
] as const;
const CASES = Object.entries(KINDS).flatMap(([kind, requests]) =>
  MOMENTS.map(([when, text, moment]) => ({ kind, when, text, moment, ...requests })),
);

it.each(CASES)(
  '$kind that is deleted $when $moment is refused for good',
  async ({ create, list, remove, when, text }) => {
    const world = await startInterleaving();
    const other = { ...world, ...world.connect() };
    await world.request('POST /v1/organization/projects', {}, { name: 'Acme', id: project });
    const keys = async (): Promise<string[]> => {
      const { data } = { data: [] as { id: string }[], ...(await list(other)) };
      return data.map(({ id }) => id);
    };
    interleave(world.client, when, 'PutItemCommand', text, async () => {
      for (const id of await keys()) await remove(other, id);
    });
    await create(world).catch((error: Error) => expect(error.message).toMatch(/^No api key found/));
    const { Items = [] } = await world.client.send(new ScanCommand({ TableName: 'access' }));
    const accepted = Items.map(unmarshall).flatMap(({ tenant, keyId }) => (tenant === undefined ? [] : [keyId]));
    expect(accepted).toEqual(await keys());
  },
);
