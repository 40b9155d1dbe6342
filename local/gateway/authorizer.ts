import { text } from 'node:stream/consumers';
import * as v from 'valibot';
import { FunctionError } from '../lambda/errors.ts';
import type { Runner } from '../lambda/runner.ts';
import { authorizerEvent, type RequestDescription } from './event.ts';
import type { GatewayResponseType } from './gateway-responses.ts';
import type { AuthorizerDefinition } from './routes.ts';

export type Authorization =
  /** `context` goes into the function's event as `requestContext.authorizer`. */
  | { readonly allowed: true; readonly context: Readonly<Record<string, unknown>> }
  | { readonly allowed: false; readonly response: GatewayResponseType };

export interface Authorizer {
  /**
   * Asks the authorizer whether a request may pass, or uses its cached answer.
   * @param methodArn ARN of the method and path that are called
   */
  authorize(description: RequestDescription, methodArn: string): Promise<Authorization>;
}

const statement = v.object({
  Effect: v.picklist(['Allow', 'Deny']),
  Action: v.union([v.string(), v.array(v.string())]),
  Resource: v.union([v.string(), v.array(v.string())]),
});

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html */
const answerSchema = v.object({
  principalId: v.string(),
  policyDocument: v.object({ Statement: v.union([v.array(statement), statement]) }),
  context: v.optional(v.record(v.string(), v.union([v.string(), v.number(), v.boolean()]))),
});

/** An authorizer's answer, ready to decide. */
interface Verdict {
  readonly context: Readonly<Record<string, string>>;
  allows(methodArn: string): boolean;
}

/** Enough for any laptop; the oldest answer goes first. */
const MAX_CACHED = 10_000;

/** Prepares a Lambda authorizer of type REQUEST. Its cached answer serves all methods and paths, as in AWS. */
export function createAuthorizer(definition: AuthorizerDefinition, runner: Pick<Runner, 'invoke'>): Authorizer {
  const cache = new Map<string, { verdict: Verdict; expiresAt: number }>();
  /** Answers on their way. */
  const asked = new Map<string, Promise<Verdict | GatewayResponseType>>();

  function cached(key: string): Verdict | undefined {
    const entry = cache.get(key);
    if (entry === undefined) return undefined;
    if (entry.expiresAt > Date.now()) return entry.verdict;
    cache.delete(key);
    return undefined;
  }

  function keep(key: string, verdict: Verdict): void {
    if (definition.ttlMs === 0) return;
    cache.delete(key);
    cache.set(key, { verdict, expiresAt: Date.now() + definition.ttlMs });
    const [oldest] = cache.keys();
    if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest);
  }

  /**
   * Callers that come at once with one identity wait for one answer: fifty would start fifty processes, which take a
   * laptop longer than an authorizer may.
   */
  function askOnce(key: string, event: string): Promise<Verdict | GatewayResponseType> {
    const underWay = asked.get(key);
    if (underWay !== undefined) return underWay;
    const answer = ask(definition.function, runner, event).finally(() => asked.delete(key));
    if (definition.ttlMs > 0) asked.set(key, answer);
    return answer;
  }

  return {
    async authorize(description, methodArn) {
      const key = identityOf(description, definition.identityHeaders);
      if (key === undefined) return { allowed: false, response: 'UNAUTHORIZED' };
      const known = cached(key);
      if (known !== undefined) return decide(known, methodArn, 0);
      const startedAt = performance.now();
      const verdict = await askOnce(key, JSON.stringify(authorizerEvent(description, methodArn)));
      if (typeof verdict === 'string') return { allowed: false, response: verdict };
      keep(key, verdict);
      return decide(verdict, methodArn, Math.round(performance.now() - startedAt));
    },
  };
}

/** The identity headers' values as one key; undefined when one of them is missing or empty. */
function identityOf({ headers }: RequestDescription, identityHeaders: readonly string[]): string | undefined {
  const values: string[] = [];
  for (const wanted of identityHeaders) {
    const name = Object.keys(headers).find((candidate) => candidate.toLowerCase() === wanted);
    const value = name === undefined ? undefined : headers[name];
    if (value === undefined || value === '') return undefined;
    values.push(value);
  }
  return values.join('\n');
}

async function ask(
  name: string,
  runner: Pick<Runner, 'invoke'>,
  event: string,
): Promise<Verdict | GatewayResponseType> {
  let json: string;
  try {
    const { body } = await runner.invoke(name, event);
    json = await text(body);
  } catch (error) {
    // The one error with a meaning of its own: an authorizer that throws this text answers 401.
    return error instanceof FunctionError && error.message === 'Unauthorized' ? 'UNAUTHORIZED' : 'AUTHORIZER_FAILURE';
  }
  const answer = v.safeParse(v.pipe(v.string(), v.parseJson(), answerSchema), json);
  return answer.success ? verdictOf(answer.output) : 'AUTHORIZER_CONFIGURATION_ERROR';
}

function decide({ context, allows }: Verdict, methodArn: string, integrationLatency: number): Authorization {
  if (!allows(methodArn)) return { allowed: false, response: 'ACCESS_DENIED' };
  return { allowed: true, context: { ...context, integrationLatency } };
}

function verdictOf({ principalId, policyDocument, context = {} }: v.InferOutput<typeof answerSchema>): Verdict {
  const statements = [policyDocument.Statement].flat().map(({ Effect, Action, Resource }) => ({
    effect: Effect,
    actions: [Action].flat().map(wildcard),
    resources: [Resource].flat().map(wildcard),
  }));
  return {
    // Functions get every value as a string, whatever it was.
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

/** A policy's pattern: `*` is any text, `?` any one character. */
function wildcard(pattern: string): RegExp {
  const source = pattern
    .replace(/[\\^$+.()|[\]{}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 'is');
}
