import type { createAdministrationRoutes } from '../../shared/admin/routes.ts';

type Routes = ReturnType<typeof createAdministrationRoutes>;
type JsonOf<Route> = Route extends { readonly run: (request: never) => Promise<infer Response> }
  ? Extract<Response, { readonly json: unknown }>['json']
  : never;

/** The JSON of the administration's answers, by route: the types of the code that encodes them. */
export type AdminAnswers = { readonly [Route in keyof Routes]: JsonOf<Routes[Route]> };
