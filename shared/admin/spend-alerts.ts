import type * as v from 'valibot';
import type { SpendAlert } from '../access/limit-policy.ts';
import { MAX_ALERTS } from '../access/limit-policy-schema.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { arrayOf, integer, object, oneOf, string, unsupported } from '../openai/schema.ts';
import { type AdminApi, createAdminRoute, createBodyRoute, getPathParameter, listArray } from './admin-routes.ts';
import { createObjectId, objectNotFoundError } from './object-table.ts';
import {
  type FindLevel,
  findOrganization,
  findProjectLevel,
  type RestrictedLevel,
  withLimits,
} from './policy-parts.ts';
import { MAX_CENTS, MONTHLY_DOLLARS } from './spend-limits.ts';

const body = object({
  ...MONTHLY_DOLLARS,
  threshold_amount: integer(1, MAX_CENTS),
  notification_channel: object({
    type: oneOf(['email']),
    recipients: arrayOf(string, 'strings'),
    subject_prefix: unsupported("is not supported: the alarm's name is the subject."),
  }),
});

/** Creates the routes of the spend alerts of the organization and of projects: the monthly alerts of their policies. */
export function createSpendAlertRoutes(api: AdminApi) {
  const organization = createRoutes(api, findOrganization(api));
  const project = createRoutes(api, findProjectLevel(api));
  return {
    'GET /v1/organization/spend_alerts': organization.list,
    'POST /v1/organization/spend_alerts': organization.create,
    'GET /v1/organization/spend_alerts/{alert}': organization.retrieve,
    'POST /v1/organization/spend_alerts/{alert}': organization.update,
    'DELETE /v1/organization/spend_alerts/{alert}': organization.delete,
    'GET /v1/organization/projects/{project}/spend_alerts': project.list,
    'POST /v1/organization/projects/{project}/spend_alerts': project.create,
    'GET /v1/organization/projects/{project}/spend_alerts/{alert}': project.retrieve,
    'POST /v1/organization/projects/{project}/spend_alerts/{alert}': project.update,
    'DELETE /v1/organization/projects/{project}/spend_alerts/{alert}': project.delete,
  };
}

function createRoutes({ now }: AdminApi, findLevel: FindLevel) {
  const change = (level: RestrictedLevel, replace: (alerts: readonly SpendAlert[]) => readonly SpendAlert[]) =>
    level.change((restrictions) => {
      const alerts = replace(restrictions.limits?.alerts ?? []);
      return withLimits(restrictions, { alerts: alerts.length === 0 ? undefined : alerts });
    });

  return {
    list: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'read');
      return listArray(
        request,
        (await listMonthly(level)).map((alert) => encodeAlert(level, alert)),
      );
    }),

    retrieve: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'read');
      return encodeAlert(level, requireAlert(await listMonthly(level), request));
    }),

    create: createBodyRoute(body, async (request, input) => {
      const dollars = parseDollars(input);
      const level = await findLevel(request, 'change');
      const alert: SpendAlert = { name: createObjectId('alert', now()), per: 'month', dollars };
      await change(level, (alerts) => addAlert(alerts, alert));
      logChange(request, level, 'created', alert);
      return encodeAlert(level, alert);
    }),

    update: createBodyRoute(body, async (request, input) => {
      const dollars = parseDollars(input);
      const level = await findLevel(request, 'change');
      const alert: SpendAlert = { name: getPathParameter(request, 'alert'), per: 'month', dollars };
      await change(level, (alerts) => {
        const old = requireAlert(alerts.filter(isMonthly), request);
        return alerts.map((each) => (each === old ? alert : each));
      });
      logChange(request, level, 'updated', alert);
      return encodeAlert(level, alert);
    }),

    delete: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'change');
      const alert = requireAlert(await listMonthly(level), request);
      await change(level, (alerts) => alerts.filter(({ name }) => name !== alert.name));
      logChange(request, level, 'deleted', alert);
      return { id: alert.name, object: `${level.name}.spend_alert.deleted` as const, deleted: true };
    }),
  };
}

/** @throws LambentError `invalid_value` if the policy has as many alerts as it may have, those per day included */
function addAlert(alerts: readonly SpendAlert[], alert: SpendAlert): readonly SpendAlert[] {
  if (alerts.length < MAX_ALERTS) return [...alerts, alert];
  throw new LambentError('invalid_value', `There are ${MAX_ALERTS} spend alerts already. Delete one first.`);
}

const isMonthly = ({ per }: SpendAlert): boolean => per === 'month';

async function listMonthly(level: RestrictedLevel): Promise<SpendAlert[]> {
  return (await level.read()).limits?.alerts?.filter(isMonthly) ?? [];
}

/** @throws LambentError `not_found` */
function requireAlert(alerts: readonly SpendAlert[], request: HttpRequest): SpendAlert {
  const id = getPathParameter(request, 'alert');
  const alert = alerts.find(({ name }) => name === id);
  if (alert === undefined) throw objectNotFoundError('spend_alert', id);
  return alert;
}

/** Returns the amount of a request's body. @throws LambentError `unsupported_value` for recipients: the alarm's topic has them */
function parseDollars({ threshold_amount: cents, notification_channel: channel }: v.InferOutput<typeof body>): number {
  if (channel.recipients.length === 0) return cents / 100;
  const message =
    "'notification_channel.recipients' is not supported: set the setting `alarmEmail`, or subscribe addresses to the stage's topic of alarms, and send an empty list.";
  throw new LambentError('unsupported_value', message, { param: 'notification_channel.recipients' });
}

function logChange(
  request: HttpRequest,
  { project }: RestrictedLevel,
  change: 'created' | 'updated' | 'deleted',
  { name, dollars }: SpendAlert,
): void {
  const details = change === 'deleted' ? {} : { details: { threshold_amount: Math.round(dollars * 100) } };
  logAct(request.telemetry, {
    type: `spend_alert.${change}`,
    objectId: name,
    ...omitUndefined({ project }),
    ...details,
  });
}

function encodeAlert(level: Pick<RestrictedLevel, 'name'>, { name, dollars }: SpendAlert) {
  return {
    id: name,
    object: `${level.name}.spend_alert` as const,
    currency: 'USD',
    interval: 'month',
    threshold_amount: Math.round(dollars * 100),
    notification_channel: { type: 'email', recipients: [] },
  };
}
