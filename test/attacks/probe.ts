/** `npm run probe -- 10000`: sends each route that takes ids in its path or its body so many requests with another tenant's key, random ids mostly. */
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { addTenant } from '../end-to-end/keys.ts';
import { startService } from '../end-to-end/service.ts';
import { createBelongings, listProbedBodies, listProbedRoutes, probe } from './probes.ts';

const count = Number(process.argv[2] ?? 10_000);
await bundleFunctions();
await using service = await startService();
const belongings = await createBelongings(service, 'sk-local');
const attacker = await addTenant(service.cloud, 'attacker');
for (const route of [...listProbedRoutes(belongings), ...listProbedBodies(belongings)]) {
  const leaks = await probe(service.cloud.url, attacker, route, belongings, count);
  console.log(`${route.route}: ${count} requests, ${leaks.length} leaks`);
  for (const leak of leaks.slice(0, 5)) console.error(leak);
  if (leaks.length > 0) process.exitCode = 1;
}
