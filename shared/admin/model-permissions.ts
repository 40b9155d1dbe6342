import type { ModelPermissions } from '../access/policy.ts';
import { arrayOf, object, oneOf, text } from '../openai/schema.ts';
import { type AdminApi, createAdminRoute, createBodyRoute } from './admin-routes.ts';
import { checkModelNames } from './model-names.ts';
import { findProjectLevel, logRestriction } from './policy-parts.ts';

const updateBody = object({
  mode: oneOf(['allow_list', 'deny_list']),
  model_ids: arrayOf(text({ min: 1, max: 256 }), 'strings'),
});

/** Creates the routes of the models that a project may use. */
export function createModelPermissionRoutes(api: AdminApi) {
  const findLevel = findProjectLevel(api);
  return {
    'GET /v1/organization/projects/{project}/model_permissions': createAdminRoute(async (request) => {
      const { models } = await (await findLevel(request, 'read')).read();
      return encodePermissions(models);
    }),

    'POST /v1/organization/projects/{project}/model_permissions': createBodyRoute(
      updateBody,
      async (request, { mode, model_ids }) => {
        const models = { mode: mode === 'allow_list' ? 'allow' : 'deny', models: model_ids } as const;
        const level = await findLevel(request, 'change');
        const names = model_ids.map((name, index) => [name, `model_ids[${index}]`] as const);
        await level.change((restrictions) => {
          checkModelNames(names, api, restrictions);
          return { ...restrictions, models };
        });
        logRestriction(request, level, { model_permissions: { mode, model_ids } });
        return encodePermissions(models);
      },
    ),

    'DELETE /v1/organization/projects/{project}/model_permissions': createAdminRoute(async (request) => {
      const level = await findLevel(request, 'change');
      await level.change(({ models: _, ...others }) => others);
      logRestriction(request, level, { model_permissions: null });
      return { object: 'project.model_permissions.deleted' as const, deleted: true };
    }),
  };
}

/** Encodes permissions. Without any, no model is denied. */
function encodePermissions({ mode, models }: ModelPermissions = { mode: 'deny', models: [] }) {
  return { object: 'project.model_permissions' as const, mode: `${mode}_list` as const, model_ids: models };
}
