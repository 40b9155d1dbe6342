import { expect, it } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import type { HttpRequest } from '../../../shared/access/route.ts';
import { checkNamedModels } from '../../../shared/api/check-named-models.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';

const target = { model: 'm', baseUrl: 'http://127.0.0.1:9' };
const registry = parseModelRegistry(
  JSON.stringify({
    models: { small: { targets: [{ provider: 'bedrock', model: 'm' }] } },
    moderations: { strict: target, lenient: target },
  }),
  'models.json',
);
const policy: Policy = { key: { models: { mode: 'deny', models: ['lenient'] } } };
const check = (body: unknown) => checkNamedModels({ body, principal: { policy } } as HttpRequest, registry);

it('models that exist and that the caller may use pass, and so does a body that its route will refuse', () => {
  for (const moderation of [{ model: 'strict' }, null, 'strict', { model: 1 }]) check({ model: 'small', moderation });
  check('text');
});

it.each([
  ['a model that does not exist', { model: 'large' }, { param: 'model', message: expect.stringContaining('`large`') }],
  [
    'a moderation model that does not exist',
    { model: 'small', moderation: { model: 'omni' } },
    { param: 'moderation.model', message: expect.stringContaining('`omni`') },
  ],
  [
    'a moderation model that the caller may not use',
    { model: 'small', moderation: { model: 'lenient' } },
    { message: expect.stringContaining('`lenient`') },
  ],
])('a body that names %s is refused', (_, body, error) => {
  expect(() => check(body)).toThrow(expect.objectContaining({ code: 'model_not_found', ...error }));
});
