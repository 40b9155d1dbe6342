import type { Retention } from '../access/policy.ts';
import { LambentError } from '../core/errors.ts';
import { object, oneOf } from '../openai/schema.ts';
import { type AdminApi, createAdminRoute, createBodyRoute } from './admin-routes.ts';
import { type FindLevel, findOrganization, findProjectLevel, logRestriction } from './policy-parts.ts';

const ENHANCED = ['enhanced_zero_data_retention', 'enhanced_modified_abuse_monitoring'] as const;
const CONTROLS = ['zero_data_retention', 'modified_abuse_monitoring'] as const;
const PROJECT_TYPES = ['organization_default', 'none', ...CONTROLS] as const;

const organizationBody = object({ retention_type: oneOf([...CONTROLS, ...ENHANCED], CONTROLS) });
const projectBody = object({ retention_type: oneOf([...PROJECT_TYPES, ...ENHANCED], PROJECT_TYPES) });

/**
 * Creates the routes of the data retention of the organization and of projects. An organization that was never changed has
 * `modified_abuse_monitoring`: the API has no value for less, and no log has content.
 */
export function createDataRetentionRoutes(api: AdminApi) {
  const organization = createRoutes(findOrganization(api), {
    body: organizationBody,
    byDefault: 'modified_abuse_monitoring',
  });
  const project = createRoutes(findProjectLevel(api), {
    body: projectBody,
    byDefault: 'organization_default',
  });
  return {
    'GET /v1/organization/data_retention': organization.retrieve,
    'POST /v1/organization/data_retention': organization.update,
    'GET /v1/organization/projects/{project}/data_retention': project.retrieve,
    'POST /v1/organization/projects/{project}/data_retention': project.update,
  };
}

interface RouteOptions {
  readonly body: typeof organizationBody | typeof projectBody;
  /** The type of a level whose policy doesn't have the section. Setting it removes the section. */
  readonly byDefault: Retention | 'organization_default';
}

function createRoutes(findLevel: FindLevel, { body, byDefault }: RouteOptions) {
  return {
    retrieve: createAdminRoute(async (request) => {
      const { name, read } = await findLevel(request, 'read');
      const { retention = byDefault } = await read();
      return { object: `${name}.data_retention` as const, type: retention };
    }),

    update: createBodyRoute(body, async (request, { retention_type: type }) => {
      if (isEnhanced(type)) throw unsupportedError(type);
      const level = await findLevel(request, 'change');
      let previous: string | undefined;
      await level.change(({ retention = byDefault, ...others }) => {
        previous = retention;
        return type === byDefault || type === 'organization_default' ? others : { ...others, retention: type };
      });
      logRestriction(request, level, { data_retention: { type } }, { data_retention: { type: previous } });
      return { object: `${level.name}.data_retention` as const, type };
    }),
  };
}

type Enhanced = (typeof ENHANCED)[number];

function isEnhanced(type: string): type is Enhanced {
  return ENHANCED.some((each) => each === type);
}

function unsupportedError(type: Enhanced): LambentError {
  const plain = type.replace('enhanced_', '');
  const message = `'${type}' is not supported, because this service has no safety processing other than its policies. Use '${plain}'.`;
  return new LambentError('unsupported_value', message, { param: 'retention_type' });
}
