/** Administers projects, their keys and what they may do: OpenAI's administration API. */
import * as v from 'valibot';
import { createProjectRoutes } from '../shared/admin/projects.ts';
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { ADMIN_ROUTES } from '../shared/api/route-table.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { matchPaths } from '../shared/lambda/path-router.ts';

const config = readConfig({
  ...httpApiSettings,
  ADMIN_TABLE: v.string(),
});
const api = {
  table: { client: createDynamoDBClient(), name: config.ADMIN_TABLE },
  now: Date.now,
};
export const handler = createHttpApi({
  telemetry: createTelemetry(config),
  corsOrigin: config.CORS_ORIGIN,
  table: ADMIN_ROUTES,
  routes: { ...createProjectRoutes(api) },
}).use(matchPaths(Object.keys(ADMIN_ROUTES)));
