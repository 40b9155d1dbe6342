/**
 * `npm run probe -- 10000`: sends each route that takes ids in its path or its body so many requests with another tenant's key,
 * random ids mostly. `npm run probe -- 10000 'GET /v1/responses/{id}'` sends them to this route alone.
 */
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { addTenant } from '../end-to-end/keys.ts';
import { startService } from '../end-to-end/service.ts';
import { createBelongings, listProbedBodies, listProbedRoutes, probe } from './probes.ts';

const [, , requests = '10000', only] = process.argv;
const count = Number(requests);
await bundleFunctions();
await using service = await startService();
const belongings = await createBelongings(service, 'sk-local');
const attacker = await addTenant(service.cloud, 'attacker');
const all = [...listProbedRoutes(belongings), ...listProbedBodies(belongings)];
const routes = all.filter(({ route }) => only === undefined || route === only);
if (routes.length === 0) throw new Error(`No such route. There are:\n${all.map(({ route }) => route).join('\n')}`);
for (const route of routes) {
  const leaks = await probe(service.cloud.url, attacker, route, belongings, count);
  console.log(`${route.route}: ${count} requests, ${leaks.length} leaks`);
  for (const leak of leaks.slice(0, 5)) console.error(leak);
  if (leaks.length > 0) process.exitCode = 1;
}
