import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import { LambentError } from '../../shared/core/errors.ts';
import type { GatewayResponseDefinition } from '../gateway/gateway-responses.ts';
import type { FunctionRoute, Route } from '../gateway/routes.ts';
import type { FunctionDefinition } from '../lambda/function.ts';
import type { LogSubscription } from '../log-subscriptions.ts';
import { type HttpEvent, type ResourceDefinition, type ServiceDefinition, serviceSchema } from './definition.ts';
import { type PrintOptions, printService } from './print.ts';

/** A function whose environment may still refer to resources. */
export interface UnresolvedFunction extends Omit<FunctionDefinition, 'environment'> {
  readonly environment: Readonly<Record<string, unknown>>;
}

/** A schedule of a function, as `rate(…)` or `cron(…)`. */
export interface Schedule {
  readonly function: string;
  readonly expression: string;
  /** The function's event. If undefined, the function gets EventBridge's scheduled event. */
  readonly input: unknown;
}

/** A queue whose messages are delivered to a function. */
export interface EventSource {
  readonly function: string;
  /** The queue's ARN, which may still refer to a resource. */
  readonly arn: unknown;
  readonly batchSize: number;
  readonly windowMs: number;
  readonly partialFailures: boolean;
  /** Maximum number of concurrent invocations; AWS's limit when undefined. */
  readonly maximumConcurrency: number | undefined;
}

/** The definition in `serverless.yml`, in the form that the local cloud uses. */
export interface Service {
  readonly name: string;
  readonly stage: string;
  readonly region: string;
  readonly functions: readonly UnresolvedFunction[];
  readonly routes: readonly Route[];
  readonly schedules: readonly Schedule[];
  readonly eventSources: readonly EventSource[];
  readonly logSubscriptions: readonly LogSubscription[];
  readonly gatewayResponses: readonly GatewayResponseDefinition[];
  readonly binaryMediaTypes: readonly string[];
  /** The origin that browsers may call from; undefined for none. */
  readonly corsOrigin: string | undefined;
  /** CloudFormation resources by logical id. */
  readonly resources: Readonly<Record<string, ResourceDefinition>>;
}

export interface ServiceOptions extends PrintOptions {
  /** Absolute folder that holds a folder for each bundle; `.build` of the root when absent. */
  readonly bundlesDir?: string;
}

/**
 * Loads the service that `serverless.yml` defines.
 * @throws LambentError `configuration`, naming each unresolved variable or unsupported setting
 */
export async function loadService(options: ServiceOptions): Promise<Service> {
  const result = v.safeParse(serviceSchema, await printService(options));
  if (!result.success) {
    const problems = result.issues.map((issue) => `  ${v.getDotPath(issue)}: ${issue.message}`);
    throw new LambentError(
      'configuration',
      `serverless.yml has settings that the local cloud doesn't support:\n${problems.join('\n')}`,
    );
  }
  return toService(result.output, options.bundlesDir ?? join(options.root, '.build'));
}

function toService(definition: ServiceDefinition, bundlesDir: string): Service {
  const { provider, resources } = definition;
  const events = Object.entries(definition.functions).flatMap(([name, { events }]) =>
    events.map((event) => ({ function: name, event })),
  );
  const httpEvents = events.flatMap(({ function: name, event }) =>
    event.http === undefined ? [] : [{ function: name, http: event.http }],
  );
  const { Resources = {} } = resources;
  const corsOrigin = findCorsOrigin(httpEvents.map(({ http }) => http));
  const logSubscriptions = readLogSubscriptions(Resources, definition);
  return {
    name: definition.service,
    stage: provider.stage,
    region: provider.region,
    functions: Object.entries(definition.functions).map(([name, each]) => ({
      name,
      functionName: each.name,
      ...locateHandler(each.handler, bundlesDir),
      timeoutMs: (each.timeout ?? provider.timeout) * 1000,
      memoryMb: each.memorySize ?? provider.memorySize,
      ...(each.reservedConcurrency === undefined ? {} : { reservedConcurrency: each.reservedConcurrency }),
      ...(each.recursiveLoop === 'Allow' ? { allowsRecursion: true } : {}),
      background:
        logSubscriptions.some(({ destination }) => destination === name) ||
        (each.events.length > 0 && each.events.every(({ http }) => http === undefined)),
      environment: { ...provider.environment, ...each.environment },
    })),
    routes: [
      ...httpEvents.map(({ function: name, http }) =>
        createFunctionRoute(name, http, provider.apiGateway.timeoutInMillis),
      ),
      ...createPreflightRoutes(httpEvents.map(({ http }) => http)),
      ...readMockRoutes(Resources),
    ],
    schedules: events.flatMap(({ function: name, event }) => {
      if (event.schedule?.enabled !== true) return [];
      const { rate, input } = event.schedule;
      return rate.map((expression) => ({ function: name, expression, input }));
    }),
    eventSources: events.flatMap(({ function: name, event }): EventSource[] => {
      if (event.sqs?.enabled !== true) return [];
      const { arn, batchSize, maximumBatchingWindow, functionResponseType, maximumConcurrency } = event.sqs;
      return [
        {
          function: name,
          arn,
          batchSize,
          windowMs: maximumBatchingWindow * 1000,
          partialFailures: functionResponseType !== undefined,
          maximumConcurrency,
        },
      ];
    }),
    logSubscriptions,
    gatewayResponses: readGatewayResponses(Resources, corsOrigin),
    corsOrigin,
    binaryMediaTypes: provider.apiGateway.binaryMediaTypes ?? [],
    resources: Resources,
  };
}

/**
 * Returns a handler's bundle and its name there: `.build/chat/index.handler` is `index.handler` in the bundle `chat`.
 */
function locateHandler(handler: string, bundlesDir: string): { taskRoot: string; handler: string } {
  return { taskRoot: join(bundlesDir, basename(dirname(handler))), handler: basename(handler) };
}

/** API Gateway's default timeout. */
const DEFAULT_INTEGRATION_TIMEOUT_MS = 29_000;

function createFunctionRoute(name: string, http: HttpEvent, commonTimeoutMs: number | undefined): FunctionRoute {
  const { authorizer } = http;
  return {
    kind: 'function',
    method: http.method,
    resource: toResource(http),
    function: name,
    streamed: http.response?.transferMode === 'STREAM',
    timeoutMs: http.timeoutInMillis ?? commonTimeoutMs ?? DEFAULT_INTEGRATION_TIMEOUT_MS,
    authorizer: authorizer && {
      function: authorizer.arn === undefined ? authorizer.name : toFunctionName(authorizer.arn),
      identityHeaders: (authorizer.identitySource?.split(',') ?? []).map((source) =>
        source.trim().slice('method.request.header.'.length).toLowerCase(),
      ),
      ttlMs: authorizer.resultTtlInSeconds * 1000,
    },
  };
}

const subscriptionFilter = v.object({
  LogGroupName: v.strictObject({ Ref: v.pipe(v.string(), v.endsWith('LogGroup')) }),
  FilterPattern: v.string(),
  DestinationArn: v.strictObject({ 'Fn::GetAtt': v.tuple([v.string(), v.literal('Arn')]) }),
});

/** Returns the subscription filters on the log groups of functions. */
function readLogSubscriptions(
  resources: Readonly<Record<string, ResourceDefinition>>,
  { functions }: ServiceDefinition,
): LogSubscription[] {
  const filters = Object.entries(resources).filter(([, { Type }]) => Type === 'AWS::Logs::SubscriptionFilter');
  return filters.map(([filterName, { Properties }]) => {
    const { LogGroupName, FilterPattern: pattern, DestinationArn } = v.parse(subscriptionFilter, Properties);
    const source = toFunctionName(LogGroupName.Ref);
    const logGroup = `/aws/lambda/${functions[source]?.name ?? source}`;
    const destination = toFunctionName(DestinationArn['Fn::GetAtt'][0]);
    return { source, logGroup, filterName, pattern, destination };
  });
}

/** Returns the short name of the function from which osls derives a logical id: `AuthorizeLambdaFunction`. */
function toFunctionName(logicalId: string): string {
  const name = logicalId.replace(/(LambdaFunction|LogGroup)$/, '');
  return name.charAt(0).toLowerCase() + name.slice(1);
}

const mockMethod = v.object({
  HttpMethod: v.string(),
  ResourceId: v.union([
    v.object({ 'Fn::GetAtt': v.tuple([v.literal('ApiGatewayRestApi'), v.literal('RootResourceId')]) }),
    v.object({ Ref: v.string() }),
  ]),
  Integration: v.object({
    Type: v.literal('MOCK'),
    IntegrationResponses: v.tuple([
      v.object({
        ResponseTemplates: v.optional(
          v.object({
            'application/json': v.pipe(
              v.string(),
              v.regex(/^[^$#]*$/, 'has references or directives, which the local cloud does not evaluate'),
            ),
          }),
        ),
      }),
    ]),
  }),
});

const rootResource = v.object({
  ParentId: v.object({ 'Fn::GetAtt': v.tuple([v.literal('ApiGatewayRestApi'), v.literal('RootResourceId')]) }),
  PathPart: v.string(),
});

/** Returns the routes that API Gateway answers itself: at the root of the API, and directly below it. */
function readMockRoutes(resources: Readonly<Record<string, ResourceDefinition>>): Route[] {
  return Object.values(resources)
    .filter(({ Type }) => Type === 'AWS::ApiGateway::Method')
    .map(({ Properties }) => {
      const { HttpMethod, ResourceId, Integration } = v.parse(mockMethod, Properties);
      const parent = 'Ref' in ResourceId ? v.parse(rootResource, resources[ResourceId.Ref]?.Properties) : undefined;
      return {
        kind: 'mock',
        method: HttpMethod,
        resource: `/${parent?.PathPart ?? ''}`,
        headers: {},
        body: Integration.IntegrationResponses[0].ResponseTemplates?.['application/json'] ?? '',
      };
    });
}

/** Returns the routes that osls creates for `cors`: an OPTIONS method on each resource with that setting. */
function createPreflightRoutes(httpEvents: readonly HttpEvent[]): Route[] {
  const byResource = Map.groupBy(httpEvents, toResource);
  return [...byResource].flatMap(([resource, events]): Route[] => {
    const cors = events.map((event) => event.cors).find((each) => each !== false);
    if (cors === undefined) return [];
    const headers = {
      'Access-Control-Allow-Origin': cors.origin,
      'Access-Control-Allow-Headers': cors.headers.join(','),
      'Access-Control-Allow-Methods': ['OPTIONS', ...events.map(({ method }) => method)].join(','),
      ...(cors.allowCredentials ? { 'Access-Control-Allow-Credentials': 'true' } : {}),
      ...(cors.maxAge === undefined ? {} : { 'Access-Control-Max-Age': String(cors.maxAge) }),
    };
    return [{ kind: 'mock', method: 'OPTIONS', resource, headers, body: '' }];
  });
}

function toResource({ path }: HttpEvent): string {
  return `/${path.replace(/^\//, '')}`;
}

function findCorsOrigin(httpEvents: readonly HttpEvent[]): string | undefined {
  return httpEvents.flatMap(({ cors }) => (cors === false ? [] : [cors.origin]))[0];
}

const gatewayResponse = v.object({
  ResponseType: v.string(),
  StatusCode: v.optional(v.pipe(v.union([v.string(), v.number()]), v.transform(Number))),
  ResponseTemplates: v.optional(v.record(v.string(), v.string()), {}),
  ResponseParameters: v.optional(v.record(v.string(), v.string()), {}),
});

/**
 * Returns the definitions of the error responses that API Gateway sends itself. As in the packaged template, they carry
 * the CORS header if an origin is configured.
 */
function readGatewayResponses(
  resources: Readonly<Record<string, ResourceDefinition>>,
  origin: string | undefined,
): GatewayResponseDefinition[] {
  const cors: Record<string, string> =
    origin === undefined ? {} : { 'gatewayresponse.header.access-control-allow-origin': `'${origin}'` };
  return Object.values(resources)
    .filter(({ Type }) => Type === 'AWS::ApiGateway::GatewayResponse')
    .map(({ Properties }) => {
      const { ResponseType, StatusCode, ResponseTemplates, ResponseParameters } = v.parse(gatewayResponse, Properties);
      return {
        responseType: ResponseType,
        statusCode: StatusCode,
        templates: ResponseTemplates,
        parameters: { ...ResponseParameters, ...cors },
      };
    });
}
