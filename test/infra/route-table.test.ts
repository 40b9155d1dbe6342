import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadService } from '../../local/service/service.ts';
import { PUBLIC_ROUTES, ROUTES } from '../../shared/api/route-table.ts';

it('the route table has exactly the routes of serverless.yml, each with the function that serves it', async () => {
  const { routes } = await loadService({ root: join(import.meta.dirname, '../..'), stage: 'local' });
  const deployed = routes.flatMap((route) =>
    route.kind === 'function' ? [`${route.function}: ${route.method} ${route.resource}`] : [],
  );
  const table = Object.entries(ROUTES).flatMap(([name, part]) => Object.keys(part).map((route) => `${name}: ${route}`));
  table.push(...PUBLIC_ROUTES.map((route) => `token: ${route}`));
  // The administration finds the routes of its greedy resources itself.
  const greedy = deployed.filter((route) => route.endsWith('/{path+}'));
  const isServed = (route: string) => greedy.filter((each) => route.startsWith(each.slice(0, -7))).length === 1;
  expect(table.filter((route) => !isServed(route)).toSorted()).toEqual(
    deployed.filter((route) => !greedy.includes(route)).toSorted(),
  );
});
