import * as v from 'valibot';
import type { Limits, ModelLimits } from '../access/limit-policy.ts';
import { logAct } from '../audit/act.ts';
import { omitUndefined } from '../core/objects.ts';
import { integer, object, unsupported } from '../openai/schema.ts';
import { type AdminApi, createAdminRoute, createBodyRoute, getPathParameter, listArray } from './admin-routes.ts';
import { checkModelNames } from './model-names.ts';
import { objectNotFoundError } from './object-table.ts';
import { findProjectLevel, withLimits } from './policy-parts.ts';

/** Shown for what is not limited, because OpenAI's types have no other value. To set it removes a limit. */
const UNLIMITED = 2_147_483_647;

const count = v.optional(v.nullable(integer(0, UNLIMITED)));
const noLimit = unsupported('is not supported: no model of this service is limited by it.');
const updateBody = object({
  max_requests_per_1_minute: count,
  max_requests_per_1_day: count,
  max_tokens_per_1_minute: count,
  // Not in OpenAI's API.
  max_tokens_per_1_day: count,
  batch_1_day_max_input_tokens: noLimit,
  max_audio_megabytes_per_1_minute: noLimit,
  max_images_per_1_minute: noLimit,
});

/** The limits of a policy by the names that the API has for them. */
const NAMES = {
  max_requests_per_1_minute: 'requestsPerMinute',
  max_tokens_per_1_minute: 'tokensPerMinute',
  max_requests_per_1_day: 'requestsPerDay',
  max_tokens_per_1_day: 'tokensPerDay',
} as const satisfies Readonly<Record<string, keyof ModelLimits>>;

/** Creates the routes of the limits of a project's models. The id of a limit is `rl-` and the model's name. */
export function createRateLimitRoutes(api: AdminApi) {
  const findLevel = findProjectLevel(api);
  return {
    'GET /v1/organization/projects/{project}/rate_limits': createAdminRoute(async (request) => {
      const { limits = {} } = await (await findLevel(request, 'read')).read();
      const models = new Set([...api.models, ...Object.keys(limits.models ?? {})]);
      return listArray(
        request,
        [...models].map((model) => encodeRateLimit(model, limits)),
      );
    }),

    'POST /v1/organization/projects/{project}/rate_limits/{rateLimit}': createBodyRoute(
      updateBody,
      async (request, body) => {
        const id = getPathParameter(request, 'rateLimit');
        const [, model] = /^rl-(.+)$/s.exec(id) ?? [];
        if (model === undefined) throw objectNotFoundError('rate_limit', id);
        const level = await findLevel(request, 'change');
        const { limits = {} } = await level.change((restrictions) => {
          checkModelNames([[model, 'rate_limit_id']], api, restrictions);
          return withLimits(restrictions, { models: changeModel(restrictions.limits ?? {}, model, body) });
        });
        const project = omitUndefined({ project: level.project });
        logAct(request.telemetry, {
          type: 'rate_limit.updated',
          objectId: id,
          ...project,
          details: { changes_requested: body },
        });
        return encodeRateLimit(model, limits);
      },
    ),
  };
}

/** Returns the limits of all models after a change of one's; undefined if none is left. */
function changeModel(
  { models = {} }: Limits,
  model: string,
  body: v.InferOutput<typeof updateBody>,
): Limits['models'] | undefined {
  const { [model]: before = {}, ...others } = models;
  const changes = Object.entries(NAMES).flatMap(([name, limit]) => {
    const value = body[name as keyof typeof NAMES];
    return value === undefined ? [] : [[limit, value === null || value === UNLIMITED ? undefined : value]];
  });
  const after = omitUndefined({ ...before, ...Object.fromEntries(changes) });
  const all = Object.keys(after).length === 0 ? others : { ...others, [model]: after };
  return Object.keys(all).length === 0 ? undefined : all;
}

function encodeRateLimit(model: string, { models = {} }: Limits) {
  const limits: ModelLimits = Object.hasOwn(models, model) ? (models[model] ?? {}) : {};
  return {
    id: `rl-${model}`,
    object: 'project.rate_limit' as const,
    model,
    max_requests_per_1_minute: limits.requestsPerMinute ?? UNLIMITED,
    max_tokens_per_1_minute: limits.tokensPerMinute ?? UNLIMITED,
    ...omitUndefined({ max_requests_per_1_day: limits.requestsPerDay, max_tokens_per_1_day: limits.tokensPerDay }),
  };
}
