import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { APIGatewayProxyEvent, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import { ACCOUNT_ID } from '../lambda/function.ts';
import type { RouteMatch } from './routes.ts';

/** What stays the same in every event of one API. */
export interface ApiIdentity {
  readonly apiId: string;
  readonly stage: string;
  readonly region: string;
  /** Media types (`image/*`) whose bodies reach functions as base64. */
  readonly binaryMediaTypes: readonly string[];
}

/** A request's context before the authorizer has spoken. */
export interface RequestContext extends Omit<APIGatewayProxyEvent['requestContext'], 'authorizer'> {
  readonly extendedRequestId: string;
  readonly deploymentId: string;
}

/** A request as API Gateway describes it to an authorizer and to a function, without the body. */
export interface RequestDescription {
  readonly resource: string;
  readonly path: string;
  readonly httpMethod: string;
  readonly headers: Record<string, string>;
  readonly multiValueHeaders: Record<string, string[]>;
  readonly queryStringParameters: Record<string, string> | null;
  readonly multiValueQueryStringParameters: Record<string, string[]> | null;
  readonly pathParameters: Readonly<Record<string, string>> | null;
  readonly stageVariables: null;
  readonly requestContext: RequestContext;
}

/**
 * Begins the context of a request: its ids, its time and where it came from.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
 */
export function createRequestContext(request: IncomingMessage, path: string, api: ApiIdentity): RequestContext {
  const now = Date.now();
  const domainName = request.headers.host ?? 'localhost';
  return {
    resourceId: 'none',
    resourcePath: path,
    httpMethod: request.method ?? '',
    extendedRequestId: randomUUID().replaceAll('-', '').slice(0, 15).concat('='),
    requestTime: commonLogTime(now),
    path,
    accountId: ACCOUNT_ID,
    protocol: `HTTP/${request.httpVersion}`,
    stage: api.stage,
    domainPrefix: domainName.split('.')[0] ?? domainName,
    requestTimeEpoch: now,
    requestId: randomUUID(),
    identity: {
      cognitoIdentityPoolId: null,
      accountId: null,
      cognitoIdentityId: null,
      caller: null,
      sourceIp: sourceAddress(request),
      principalOrgId: null,
      accessKey: null,
      cognitoAuthenticationType: null,
      cognitoAuthenticationProvider: null,
      userArn: null,
      userAgent: request.headers['user-agent'] ?? null,
      user: null,
      apiKey: null,
      apiKeyId: null,
      clientCert: null,
    },
    domainName,
    deploymentId: 'local',
    apiId: api.apiId,
  };
}

/** Describes a request that has a route. */
export function describeRequest(
  request: IncomingMessage,
  { route, pathParameters }: RouteMatch,
  context: RequestContext,
): RequestDescription {
  const headers = headersOf(request, context);
  const query = queryOf(request.url ?? '');
  return {
    resource: route.resource,
    path: context.path,
    httpMethod: context.httpMethod,
    headers: lastOfEach(headers),
    multiValueHeaders: headers,
    queryStringParameters: query && lastOfEach(query),
    multiValueQueryStringParameters: query,
    pathParameters,
    stageVariables: null,
    requestContext: { ...context, resourcePath: route.resource, resourceId: resourceId(route.resource) },
  };
}

/** The event of a REQUEST authorizer. */
export function authorizerEvent(
  description: RequestDescription,
  methodArn: string,
): Omit<APIGatewayRequestAuthorizerEvent, 'requestContext'> & { requestContext: RequestContext } {
  return { type: 'REQUEST', methodArn, ...description };
}

/** A function's proxy event (payload version 1.0), as JSON. */
export function proxyEvent(
  description: RequestDescription,
  authorizer: Readonly<Record<string, unknown>> | undefined,
  body: Buffer,
  { binaryMediaTypes }: ApiIdentity,
): string {
  const requestContext = authorizer ? { ...description.requestContext, authorizer } : description.requestContext;
  const binary = body.length > 0 && isBinary(lastHeader(description.headers, 'content-type'), binaryMediaTypes);
  // Bytes that are no UTF-8 become U+FFFD, in AWS as well: only a binary media type passes them unharmed.
  const text = body.length === 0 ? null : body.toString(binary ? 'base64' : 'utf8');
  return JSON.stringify({ ...description, requestContext, body: text, isBase64Encoded: binary });
}

/** Headers of one connection only; API Gateway ends it, so they mean nothing behind it. */
const HOP_BY_HOP = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade', 'expect', 'content-length'],
]);

/** Headers with the case in which they came, and those that API Gateway adds. */
function headersOf({ rawHeaders }: IncomingMessage, context: RequestContext): Record<string, string[]> {
  const headers: Record<string, string[]> = Object.create(null);
  const forwardedFor: string[] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    const value = rawHeaders[index + 1] ?? '';
    const lowerName = name.toLowerCase();
    if (HOP_BY_HOP.has(lowerName) || lowerName === 'x-forwarded-port' || lowerName === 'x-forwarded-proto') continue;
    if (lowerName === 'x-forwarded-for') forwardedFor.push(value);
    else append(headers, name, value);
  }
  headers['X-Amzn-Trace-Id'] ??= [
    `Root=1-${hex(context.requestTimeEpoch)}-${context.requestId.replaceAll('-', '').slice(0, 24)}`,
  ];
  headers['X-Forwarded-For'] = [[...forwardedFor, context.identity.sourceIp].join(', ')];
  headers['X-Forwarded-Port'] = ['443'];
  headers['X-Forwarded-Proto'] = ['https'];
  return headers;
}

function hex(epochMs: number): string {
  return Math.floor(epochMs / 1000).toString(16);
}

function queryOf(url: string): Record<string, string[]> | null {
  const start = url.indexOf('?');
  if (start === -1 || start === url.length - 1) return null;
  const query: Record<string, string[]> = Object.create(null);
  for (const [name, value] of new URLSearchParams(url.slice(start))) append(query, name, value);
  return query;
}

function append(values: Record<string, string[]>, name: string, value: string): void {
  const known = values[name];
  if (known === undefined) values[name] = [value];
  else known.push(value);
}

function lastOfEach(values: Record<string, string[]>): Record<string, string> {
  const last: Record<string, string> = Object.create(null);
  for (const name in values) last[name] = values[name]?.at(-1) ?? '';
  return last;
}

/** The header whose name, in any case, is `name` (lower case). */
function lastHeader(headers: Readonly<Record<string, string>>, name: string): string | undefined {
  for (const candidate in headers) if (candidate.toLowerCase() === name) return headers[candidate];
  return undefined;
}

function isBinary(contentType: string | undefined, binaryMediaTypes: readonly string[]): boolean {
  const mediaType = contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  return binaryMediaTypes.some((pattern) => {
    if (pattern === '*/*') return true;
    return pattern.endsWith('/*') ? mediaType.startsWith(pattern.slice(0, -1)) : mediaType === pattern;
  });
}

function sourceAddress({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? '127.0.0.1').replace(/^::ffff:/, '');
}

/** API Gateway's resource ids are short and opaque; this one is the same for the same resource. */
function resourceId(resource: string): string {
  let hash = 0;
  for (let index = 0; index < resource.length; index += 1) hash = (hash * 31 + resource.charCodeAt(index)) >>> 0;
  return hash.toString(36).padStart(6, '0');
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `21/Nov/2026:09:41:24 +0000`. */
function commonLogTime(epochMs: number): string {
  const iso = new Date(epochMs).toISOString();
  return `${iso.slice(8, 10)}/${MONTHS[Number(iso.slice(5, 7)) - 1]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}
