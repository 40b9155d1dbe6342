import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { APIGatewayProxyEvent, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import { ACCOUNT_ID } from '../lambda/function.ts';
import type { RouteMatch } from './routes.ts';

/** The properties of an API that appear in all of its events. */
export interface ApiIdentity {
  readonly apiId: string;
  readonly stage: string;
  readonly region: string;
  /** Media types (`image/*`) whose bodies reach functions as base64. */
  readonly binaryMediaTypes: readonly string[];
}

/** A request's `requestContext`, without the authorizer's part. */
export interface ProxyRequestContext extends Omit<APIGatewayProxyEvent['requestContext'], 'authorizer'> {
  readonly extendedRequestId: string;
  readonly deploymentId: string;
}

/** A request as API Gateway describes it to authorizers and functions, without its body. */
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
  readonly requestContext: ProxyRequestContext;
}

/**
 * Creates the context of a request: its ids, its time and its sender's address.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
 */
export function createRequestContext(request: IncomingMessage, path: string, api: ApiIdentity): ProxyRequestContext {
  const now = Date.now();
  const domainName = request.headers.host ?? 'localhost';
  return {
    resourceId: 'none',
    resourcePath: path,
    httpMethod: request.method ?? '',
    extendedRequestId: randomUUID().replaceAll('-', '').slice(0, 15).concat('='),
    requestTime: formatTime(now),
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
      sourceIp: readSourceAddress(request),
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

/** Describes a request whose route was found. */
export function describeRequest(
  request: IncomingMessage,
  { route, pathParameters }: RouteMatch,
  context: ProxyRequestContext,
): RequestDescription {
  const headers = collectHeaders(request, context);
  const query = parseQuery(request.url ?? '');
  return {
    resource: route.resource,
    path: context.path,
    httpMethod: context.httpMethod,
    headers: keepLastOfEach(headers),
    multiValueHeaders: headers,
    queryStringParameters: query && keepLastOfEach(query),
    multiValueQueryStringParameters: query,
    pathParameters,
    stageVariables: null,
    requestContext: { ...context, resourcePath: route.resource, resourceId: deriveResourceId(route.resource) },
  };
}

/** Creates the event of a REQUEST authorizer. */
export function createAuthorizerEvent(
  description: RequestDescription,
  methodArn: string,
): Omit<APIGatewayRequestAuthorizerEvent, 'requestContext'> & { requestContext: ProxyRequestContext } {
  return { type: 'REQUEST', methodArn, ...description };
}

/** Creates a function's proxy event (payload version 1.0), as JSON. */
export function createProxyEvent(
  description: RequestDescription,
  authorizer: Readonly<Record<string, unknown>> | undefined,
  body: Buffer,
  { binaryMediaTypes }: ApiIdentity,
): string {
  const requestContext = authorizer ? { ...description.requestContext, authorizer } : description.requestContext;
  const binary = body.length > 0 && isBinary(findHeader(description.headers, 'content-type'), binaryMediaTypes);
  // As in AWS, bytes that are not UTF-8 become U+FFFD unless the media type is a binary one.
  const text = body.length === 0 ? null : body.toString(binary ? 'base64' : 'utf8');
  return JSON.stringify({ ...description, requestContext, body: text, isBase64Encoded: binary });
}

/** Headers that concern one connection. API Gateway terminates the connection, so functions don't get them. */
const HOP_BY_HOP = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade', 'expect', 'content-length'],
]);

/** Returns the request's headers, in their original case, and the headers that API Gateway adds. */
function collectHeaders({ rawHeaders }: IncomingMessage, context: ProxyRequestContext): Record<string, string[]> {
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
    `Root=1-${formatHexSeconds(context.requestTimeEpoch)}-${context.requestId.replaceAll('-', '').slice(0, 24)}`,
  ];
  headers['X-Forwarded-For'] = [[...forwardedFor, context.identity.sourceIp].join(', ')];
  headers['X-Forwarded-Port'] = ['443'];
  headers['X-Forwarded-Proto'] = ['https'];
  return headers;
}

function formatHexSeconds(epochMs: number): string {
  return Math.floor(epochMs / 1000).toString(16);
}

function parseQuery(url: string): Record<string, string[]> | null {
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

function keepLastOfEach(values: Record<string, string[]>): Record<string, string> {
  const last: Record<string, string> = Object.create(null);
  for (const name in values) last[name] = values[name]?.at(-1) ?? '';
  return last;
}

/**
 * Returns a header's value.
 * @param name in lower case; the request may write it in any case
 */
function findHeader(headers: Readonly<Record<string, string>>, name: string): string | undefined {
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

function readSourceAddress({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? '127.0.0.1').replace(/^::ffff:/, '');
}

/** Derives a short id from a resource, as opaque as API Gateway's. */
function deriveResourceId(resource: string): string {
  let hash = 0;
  for (let index = 0; index < resource.length; index += 1) hash = (hash * 31 + resource.charCodeAt(index)) >>> 0;
  return hash.toString(36).padStart(6, '0');
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Formats a time as in the Common Log Format: `21/Nov/2026:09:41:24 +0000`. */
function formatTime(epochMs: number): string {
  const iso = new Date(epochMs).toISOString();
  return `${iso.slice(8, 10)}/${MONTHS[Number(iso.slice(5, 7)) - 1]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}
