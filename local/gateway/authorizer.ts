import { text } from 'node:stream/consumers';
import * as v from 'valibot';
import { FunctionError } from '../lambda/errors.ts';
import type { Runner } from '../lambda/runner.ts';
import { createAuthorizerEvent, type RequestDescription } from './event.ts';
import type { GatewayResponseType } from './gateway-responses.ts';
import type { AuthorizerDefinition } from './routes.ts';

export type Authorization =
  /** `context` goes into the function's event as `requestContext.authorizer`. */
  | { readonly allowed: true; readonly context: Readonly<Record<string, unknown>> }
  | { readonly allowed: false; readonly response: GatewayResponseType };

export interface Authorizer {
  /**
   * Decides whether a request is allowed, by a cached policy or by invoking the authorizer.
   * @param methodArn ARN of the method and path that the request calls
   */
  authorize(description: RequestDescription, methodArn: string): Promise<Authorization>;
}

const statement = v.object({
  Effect: v.picklist(['Allow', 'Deny']),
  Action: v.union([v.string(), v.array(v.string())]),
  Resource: v.union([v.string(), v.array(v.string())]),
});

/**
 * Its size isn't limited: AWS documents a quota of 8 KB for WebSocket APIs only, and a user of a REST API reports that larger ones work.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
 * @see https://repost.aws/questions/QUzilwCUByQz6iUi-9hwPFJQ/lambda-authorizer-for-api-gateway-maximum-size-of-returned-policy
 */
const outputSchema = v.object({
  principalId: v.string(),
  policyDocument: v.object({ Statement: v.union([v.array(statement), statement]) }),
  context: v.optional(v.record(v.string(), v.union([v.string(), v.number(), v.boolean()]))),
});

/** An authorizer's output, ready to be applied to requests. */
interface Policy {
  readonly context: Readonly<Record<string, string>>;
  allows(methodArn: string): boolean;
}

/** Maximum number of cached policies, more than a laptop needs. Beyond it, the oldest policy is evicted. */
const MAX_CACHED = 10_000;

/** Creates a Lambda authorizer of type REQUEST. As in AWS, a cached policy applies to all methods and paths. */
export function createAuthorizer(definition: AuthorizerDefinition, runner: Pick<Runner, 'invoke'>): Authorizer {
  const cache = new Map<string, { policy: Policy; expiresAt: number }>();
  /** Invocations in flight, by identity. */
  const pending = new Map<string, Promise<Policy | GatewayResponseType>>();

  function readCache(key: string): Policy | undefined {
    const entry = cache.get(key);
    if (entry === undefined) return undefined;
    if (entry.expiresAt > Date.now()) return entry.policy;
    cache.delete(key);
    return undefined;
  }

  function writeCache(key: string, policy: Policy): void {
    if (definition.ttlMs === 0) return;
    cache.delete(key);
    cache.set(key, { policy, expiresAt: Date.now() + definition.ttlMs });
    const [oldest] = cache.keys();
    if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest);
  }

  /**
   * Invokes the authorizer once for all concurrent requests of an identity. In standard mode, fifty invocations would
   * start fifty processes, which takes a laptop longer than an authorizer's timeout.
   */
  function invokeOnce(key: string, event: string): Promise<Policy | GatewayResponseType> {
    const inFlight = pending.get(key);
    if (inFlight !== undefined) return inFlight;
    const invocation = invokeAuthorizer(definition.function, runner, event).finally(() => pending.delete(key));
    if (definition.ttlMs > 0) pending.set(key, invocation);
    return invocation;
  }

  return {
    async authorize(description, methodArn) {
      const key = readIdentity(description, definition.identityHeaders);
      if (key === undefined) return { allowed: false, response: 'UNAUTHORIZED' };
      const cached = readCache(key);
      if (cached !== undefined) return decide(cached, methodArn, 0);
      const startedAt = performance.now();
      const policy = await invokeOnce(key, JSON.stringify(createAuthorizerEvent(description, methodArn)));
      if (typeof policy === 'string') return { allowed: false, response: policy };
      writeCache(key, policy);
      return decide(policy, methodArn, Math.round(performance.now() - startedAt));
    },
  };
}

/** Returns the values of the identity headers as one key; undefined if any of them is missing or empty. */
function readIdentity({ headers }: RequestDescription, identityHeaders: readonly string[]): string | undefined {
  const values: string[] = [];
  for (const wanted of identityHeaders) {
    const name = Object.keys(headers).find((candidate) => candidate.toLowerCase() === wanted);
    const value = name === undefined ? undefined : headers[name];
    if (value === undefined || value === '') return undefined;
    values.push(value);
  }
  return values.join('\n');
}

async function invokeAuthorizer(
  name: string,
  runner: Pick<Runner, 'invoke'>,
  event: string,
): Promise<Policy | GatewayResponseType> {
  let json: string;
  try {
    const { body } = await runner.invoke(name, event);
    json = await text(body);
  } catch (error) {
    // API Gateway answers 401 to an authorizer that throws this text, and 500 to any other error.
    return error instanceof FunctionError && error.message === 'Unauthorized' ? 'UNAUTHORIZED' : 'AUTHORIZER_FAILURE';
  }
  const output = v.safeParse(v.pipe(v.string(), v.parseJson(), outputSchema), json);
  return output.success ? toPolicy(output.output) : 'AUTHORIZER_CONFIGURATION_ERROR';
}

function decide({ context, allows }: Policy, methodArn: string, integrationLatency: number): Authorization {
  if (!allows(methodArn)) return { allowed: false, response: 'ACCESS_DENIED' };
  return { allowed: true, context: { ...context, integrationLatency } };
}

function toPolicy({ principalId, policyDocument, context = {} }: v.InferOutput<typeof outputSchema>): Policy {
  const statements = [policyDocument.Statement].flat().map(({ Effect, Action, Resource }) => ({
    effect: Effect,
    actions: [Action].flat().map(toPattern),
    resources: [Resource].flat().map(toPattern),
  }));
  return {
    // Functions get every value as a string, whatever its type was.
    context: { ...mapValues(context, String), principalId },
    allows(methodArn) {
      const applying = statements.filter(
        ({ actions, resources }) =>
          actions.some((action) => action.test('execute-api:Invoke')) &&
          resources.some((resource) => resource.test(methodArn)),
      );
      return applying.length > 0 && applying.every(({ effect }) => effect === 'Allow');
    },
  };
}

function mapValues<From, To>(record: Record<string, From>, change: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}

/** Translates a policy's wildcards: `*` stands for any text, `?` for any one character. */
function toPattern(wildcard: string): RegExp {
  const source = wildcard
    .replace(/[\\^$+.()|[\]{}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 'is');
}
