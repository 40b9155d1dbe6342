import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { parse } from 'yaml';

/** A route of the service. */
export interface ServedRoute {
  /** In upper case. */
  readonly method: string;
  /** As in serverless.yml: `v1/responses/{id}`. */
  readonly path: string;
}

const http = v.looseObject({ http: v.object({ method: v.string(), path: v.string() }) });
const service = v.object({ functions: v.record(v.string(), v.object({ events: v.optional(v.unknown()) })) });

/** Returns the routes of serverless.yml. */
export async function readServedRoutes(): Promise<ServedRoute[]> {
  const text = await readFile(join(import.meta.dirname, '../../../serverless.yml'), 'utf8');
  // Without the warnings about the tags of CloudFormation.
  const { functions } = v.parse(service, parse(text, { logLevel: 'error' }));
  const events = Object.values(functions).flatMap(({ events }) => (Array.isArray(events) ? events : []));
  return events
    .filter((event) => v.is(http, event))
    .map((event) => ({ method: event.http.method.toUpperCase(), path: event.http.path }));
}

/** @param path with `/v1` */
export function isServed(routes: readonly ServedRoute[], method: string, path: string): boolean {
  return routes.some(
    (route) => route.method === method && new RegExp(`^/${route.path.replaceAll(/\{\w+\+?\}/g, '[^/]+')}$`).test(path),
  );
}
