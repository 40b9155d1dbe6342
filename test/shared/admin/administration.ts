import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import type { Route } from '../../../shared/access/route.ts';
import { ADMIN_SCOPES } from '../../../shared/access/scopes.ts';
import type { AdminApi } from '../../../shared/admin/admin-routes.ts';
import { createAdministrationRoutes } from '../../../shared/admin/routes.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

/** What tests read of responses. */
export interface Created {
  readonly id: string;
  readonly value?: string;
  readonly api_key?: { readonly id: string; readonly value: string };
}

/** Path parameters. */
export type Ids = Readonly<Record<string, string>>;

const useKms = () => Promise.reject(new Error('no request here uses KMS'));

/** Returns a function that sends requests to routes of the administration, such as `POST /v1/organization/projects`. */
export function createAdministration(
  client: DynamoDBClient,
  tables: { readonly admin: string; readonly access: string },
  now: () => number,
  vault: Partial<Pick<AdminApi, 'tenantKeys' | 'wrappingKeys' | 'keyId' | 'externalKeys'>> = {},
): (route: string, pathParameters: Ids, body?: unknown) => Promise<Created> {
  const api = {
    table: { client, name: tables.admin },
    access: { client, name: tables.access },
    policies: createPolicyAdministration(client, tables.access),
    tenantKeys: { read: async () => undefined },
    ...{ wrappingKeys: { change: useKms, checkRemoval: useKms, validate: useKms }, keyId: 'key', externalKeys: [] },
    hasMutualTls: false,
    isLoopbackIssuerAllowed: false,
    models: ['lean'],
    moderations: [],
    guardrails: ['strict', 'people'],
    replyQueues: ['answers'],
    usage: { client, name: 'usage' },
    now,
    ...vault,
  };
  const routes: Readonly<Record<string, Route>> = createAdministrationRoutes(api);
  return async (route: string, pathParameters: Ids, body: unknown = {}): Promise<Created> => {
    const found = routes[route];
    if (found === undefined) throw new Error(`no route ${route}`);
    const response = await found.run({
      ...{ requestId: 'r', pathParameters, query: {}, headers: {}, body, deadlineAt: Number.POSITIVE_INFINITY },
      principal: { tenant: ORGANIZATION, keyId: 'admin', scopes: ADMIN_SCOPES, policy: UNRESTRICTED },
      signal: new AbortController().signal,
      telemetry: recordTelemetry(),
    });
    return ('json' in response ? response.json : undefined) as Created;
  };
}
