import { LambentError } from '../core/errors.ts';
import { integer, object, oneOf } from '../openai/schema.ts';
import { type AdminApi, createAdminRoute, createBodyRoute } from './admin-routes.ts';
import {
  type FindLevel,
  findOrganization,
  findProjectLevel,
  logRestriction,
  type RestrictedLevel,
  withLimits,
} from './policy-parts.ts';

/** The only currency and period of OpenAI's API. */
export const MONTHLY_DOLLARS = {
  currency: oneOf(['USD']),
  interval: oneOf(['month']),
};
/** Ten million dollars. */
export const MAX_CENTS = 1_000_000_000;

const updateBody = object({ ...MONTHLY_DOLLARS, threshold_amount: integer(1, MAX_CENTS) });

/** Creates the routes of the hard spend limits of the organization and of projects. */
export function createSpendLimitRoutes(api: AdminApi) {
  const organization = createRoutes(findOrganization(api));
  const project = createRoutes(findProjectLevel(api));
  return {
    'GET /v1/organization/spend_limit': organization.retrieve,
    'POST /v1/organization/spend_limit': organization.update,
    'DELETE /v1/organization/spend_limit': organization.delete,
    'GET /v1/organization/projects/{project}/spend_limit': project.retrieve,
    'POST /v1/organization/projects/{project}/spend_limit': project.update,
    'DELETE /v1/organization/projects/{project}/spend_limit': project.delete,
  };
}

function createRoutes(findLevel: FindLevel) {
  return {
    retrieve: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'read');
      const { limits } = await level.read();
      if (limits?.dollarsPerMonth === undefined) throw noSpendLimitError(level);
      return encodeSpendLimit(level, limits.dollarsPerMonth);
    }),

    update: createBodyRoute(updateBody, async (request, { threshold_amount: cents }) => {
      const level = await findLevel(request, 'change');
      await level.change((restrictions) => withLimits(restrictions, { dollarsPerMonth: cents / 100 }));
      logRestriction(request, level, { spend_limit: { threshold_amount: cents } });
      return encodeSpendLimit(level, cents / 100);
    }),

    delete: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'change');
      await level.change((restrictions) => withLimits(restrictions, { dollarsPerMonth: undefined }));
      logRestriction(request, level, { spend_limit: null });
      return { object: `${level.name}.spend_limit.deleted` as const, deleted: true };
    }),
  };
}

function noSpendLimitError({ name }: RestrictedLevel): LambentError {
  return new LambentError('not_found', `The ${name} has no spend limit.`);
}

function encodeSpendLimit({ name }: RestrictedLevel, dollars: number) {
  return {
    object: `${name}.spend_limit` as const,
    currency: 'USD',
    interval: 'month',
    threshold_amount: Math.round(dollars * 100),
    enforcement: { status: 'enforcing' },
  };
}
