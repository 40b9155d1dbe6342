import * as v from 'valibot';
import type { AuthorizerDefinition, FunctionRoute } from '../../local/gateway/routes.ts';

/** A REST API as API Gateway describes it. */
export interface DeployedApi {
  readonly id: string;
  readonly routes: readonly FunctionRoute[];
}

/** API Gateway's maximum, as in `serverless.yml`. */
const TIMEOUT_MS = 900_000;

const listOf = <Item extends v.GenericSchema>(item: Item) => v.object({ item: v.array(item) });
const apis = listOf(v.object({ id: v.string() }));
/** moto drops three properties of a template's methods: the authorizer's id, the transfer mode and the timeout. */
const method = v.object({
  httpMethod: v.string(),
  authorizationType: v.string(),
  methodIntegration: v.object({ uri: v.nullish(v.string()) }),
});
const resources = listOf(v.object({ path: v.string(), resourceMethods: v.nullish(v.record(v.string(), method), {}) }));

/**
 * Reads the only REST API of a region from moto, with its methods and integrations.
 * @param authorizer the API's authorizer, from the template: moto creates no authorizers for a stack
 * @throws Error if it differs from what the gateway of the local cloud can serve
 */
export async function readApi(
  endpoint: string,
  region: string,
  authorizer: AuthorizerDefinition,
): Promise<DeployedApi> {
  const get = async <Schema extends v.GenericSchema>(path: string, schema: Schema) => {
    // moto finds the service by the scope of the signature, and checks no more of it.
    const authorization = `AWS4-HMAC-SHA256 Credential=test/20260101/${region}/apigateway/aws4_request`;
    return v.parse(schema, await (await fetch(`${endpoint}${path}`, { headers: { authorization } })).json());
  };
  const [{ id }, ...others] = (await get('/restapis', apis)).item as [{ id: string }];
  if (others.length > 0) throw new Error('There is more than one API');
  const found = await get(`/restapis/${id}/resources?embed=methods`, resources);
  const routes = found.item.flatMap(({ path, resourceMethods }) =>
    Object.values(resourceMethods ?? {})
      // API Gateway itself answers methods without a backend.
      .filter(({ methodIntegration }) => (methodIntegration.uri ?? '') !== '')
      .map(
        ({ httpMethod, authorizationType, methodIntegration }): FunctionRoute => ({
          kind: 'function',
          method: httpMethod,
          resource: path,
          function: readFunctionName(methodIntegration.uri),
          // The path of the URI is another for streaming.
          streamed: methodIntegration.uri?.endsWith('/response-streaming-invocations') === true,
          timeoutMs: TIMEOUT_MS,
          authorizer: authorizationType === 'CUSTOM' ? authorizer : undefined,
        }),
      ),
  );
  return { id, routes };
}

/** Returns the name of the function in an integration's URI. */
function readFunctionName(uri: string | null = ''): string {
  const [, name] = /:function:([\w-]+)(?::\w+)?\/(?:response-streaming-)?invocations$/.exec(uri ?? '') ?? [];
  if (name === undefined) throw new Error(`${uri} is not the URI of a function`);
  return name;
}
