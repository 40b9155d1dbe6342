import { expect, it } from 'vitest';
import type { Restrictions } from '../../../shared/access/policy.ts';
import { createCallerFinder, toJobCaller } from '../../../shared/api/job-caller.ts';

const project: Restrictions = { models: { mode: 'allow', models: ['a', 'b'] } };
const key: Restrictions = { models: { mode: 'deny', models: ['b'] } };
const findCaller = createCallerFinder({ find: async () => ({ archived: false, project: JSON.stringify(project) }) });

it('a job is run for the key that it was accepted from, with the key’s restrictions of then', async () => {
  const caller = toJobCaller({ tenant: 'acme', keyId: 'web', policy: { key, project: {} } });
  expect(await findCaller({ tenant: 'acme' }, { caller })).toEqual({
    ...{ tenant: 'acme', keyId: 'web' },
    policy: { project, key },
  });
});

it('a job of a key without restrictions is run with its tenant’s policy, as is a job of an earlier version', async () => {
  const caller = toJobCaller({ tenant: 'acme', keyId: 'web', policy: {} });
  expect(await findCaller({ tenant: 'acme' }, { caller })).toEqual({
    tenant: 'acme',
    keyId: 'web',
    policy: { project },
  });
  expect(await findCaller({ tenant: 'acme' }, {})).toEqual({ tenant: 'acme', policy: { project } });
});

it('a job whose key has a restriction that only a newer version enforces waits for that version', async () => {
  const caller = { keyId: 'web', restrictions: { fromTheFuture: {} } as Restrictions };
  await expect(findCaller({ tenant: 'acme' }, { caller })).rejects.toMatchObject({ code: 'overloaded' });
});

it('a job of an archived project is refused', async () => {
  const findNone = createCallerFinder({ find: async () => ({ archived: true }) });
  await expect(findNone({ tenant: 'acme' }, {})).rejects.toMatchObject({ code: 'project_archived' });
});
