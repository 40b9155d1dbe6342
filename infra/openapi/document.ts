import packageFile from '../../package.json' with { type: 'json' };
import { isCalledEachTime } from '../../shared/access/request-keys.ts';
import { PUBLIC_ROUTES, ROUTES } from '../../shared/api/route-table.ts';
import { ADMIN_OPERATIONS } from './admin-operations.ts';
import { type AdminBody, listAdminBodies } from './admin-requests.ts';
import { convertAnswerTypes, type Schema } from './answer-schemas.ts';
import { OPERATIONS, type Operation, type QueryParameter } from './operations.ts';
import { convertRequestSchemas } from './request-schemas.ts';
import { REQUESTS } from './requests.ts';
import { shareParameters } from './shared-parameters.ts';

const ALL_OPERATIONS: Readonly<Record<string, Operation>> = { ...OPERATIONS, ...ADMIN_OPERATIONS };

/** The statuses that every route may answer: those of API Gateway, of a key, and of a failure. */
const COMMON_ERRORS = [400, 401, 403, 429, 500, 503, 504];
/** Those that a route without a key never answers. */
const KEY_ERRORS: readonly number[] = [401, 403];

/** Those of the administration, by their ranges: it has so many routes that API Gateway would not serve all statuses of each. */
const ADMIN_ERRORS = ['4XX', '5XX'];

const STATUS_TEXTS: Readonly<Record<string, string>> = {
  400: 'The request is invalid.',
  401: 'There is no key, several, or one that is unknown or expired.',
  403: 'The key lacks the scope of the route, or its tenant was erased.',
  404: 'There is no such object, or no such model.',
  409: 'Another request holds the object or the idempotency key.',
  413: 'The request is too large.',
  415: 'The media type is not JSON.',
  422: 'The idempotency key was used for another request.',
  426: 'Send a POST request instead.',
  429: 'A limit is reached.',
  500: 'The service failed.',
  502: "The model's answer is incomplete or invalid.",
  503: 'The service or the model is unavailable.',
  504: 'The model did not answer in time.',
  529: 'The service is overloaded.',
  '4XX': 'The request is refused.',
  '5XX': 'The service failed, or is unavailable.',
};

const DESCRIPTION =
  `OpenAI's and Anthropic's APIs in front of the models of one deployment. A request belongs to the tenant of its
key, and needs the scope that its route names in \`x-lambent-scope\`. Answers have fields beyond those described.`.replaceAll(
    '\n',
    ' ',
  );

/** Returns the OpenAPI 3.1 description of all routes: from the route table, the request schemas and the answers' types. */
export function createDocument(): object {
  const routes = [
    ...Object.values(ROUTES).flatMap((part) => Object.entries(part)),
    ...PUBLIC_ROUTES.map((route) => [route, undefined] as const),
  ];
  const answers = convertAnswerTypes();
  const bodies = listAdminBodies();
  const findContent = createContentFinder(bodies, answers.administration);
  const described: Record<string, Record<string, object>> = {};
  for (const [route, scope] of routes.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const [method = '', resource = ''] = route.split(' ');
    const path = resource.replace('+}', '}');
    const parameters = listPathParameters(resource);
    described[path] = {
      ...(parameters.length > 0 ? { parameters } : {}),
      ...described[path],
      [method.toLowerCase()]: describeRoute(method, resource, scope, findContent(route)),
    };
  }
  const { paths, parameters } = shareParameters(described);
  const { version } = packageFile;
  const text = JSON.stringify(paths);
  const wasUsed = (name: string): boolean => text.includes(`"#/components/responses/${name}"`);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Lambent',
      version,
      description: DESCRIPTION,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The deployment that serves this document' }],
    tags: TAGS.map(([name, description]) => ({ name, description })),
    paths: Object.fromEntries(Object.entries(paths).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      securitySchemes: {
        key: { type: 'http', scheme: 'bearer', description: 'An API key, or an admin key.' },
        keyHeader: {
          type: 'apiKey',
          in: 'header',
          name: 'x-api-key',
          description: "The same key, as Anthropic's clients send it.",
        },
      },
      parameters,
      headers: { RequestId: { description: "The request's id in the logs", schema: { type: 'string' } } },
      schemas: {
        ...convertRequestSchemas({
          ...REQUESTS,
          ...Object.fromEntries([...bodies.values()].map(({ name, schema }) => [name, schema])),
        }),
        ...answers.components,
      },
      responses: {
        ...createErrors('Error', '', wasUsed),
        ...createErrors('MessagesError', 'Messages', wasUsed),
        ...createErrors('TokenError', 'Token', wasUsed),
      },
    },
  };
}

const TAGS = [
  ['Chat', 'Chat completions'],
  ['Responses', 'Responses, stored or not'],
  ['Messages', "Anthropic's Messages API"],
  ['Embeddings', 'Embeddings'],
  ['Moderations', 'Moderations'],
  ['Models', 'The models that a request may name'],
  ['Conversations', 'Conversations and their items'],
  ['Tokens', 'Access tokens for programs that have tokens of a trusted issuer, and no key'],
  ['Admin', "OpenAI's administration API, and extensions of it. Admin keys only"],
] as const;

/** Returns the responses of all errors of one API, by their names. */
function createErrors(schema: string, prefix: string, wasUsed: (name: string) => boolean): Record<string, object> {
  const content = { 'application/json': { schema: refer(schema) } };
  return Object.fromEntries(
    Object.entries(STATUS_TEXTS)
      .map(([status, description]) => [`${prefix}${status}`, { description, content }] as const)
      .filter(([name]) => wasUsed(name)),
  );
}

/** What a route takes and responds with, as schemas. */
interface Content {
  /** Undefined for a route without a body. */
  readonly body: Schema | undefined;
  readonly isBodyOptional: boolean;
  /** Undefined for a route that only refuses. */
  readonly answer: Schema | undefined;
}

/** Creates the function that returns what a route takes and responds with. */
function createContentFinder(bodies: ReadonlyMap<string, AdminBody>, answers: Readonly<Record<string, Schema>>) {
  return (route: string): Content => {
    if (route in OPERATIONS) {
      const { body, bodyOptional = false, answer } = OPERATIONS[route as keyof typeof OPERATIONS];
      return { body: body && refer(body), isBodyOptional: bodyOptional, answer: answer && refer(answer) };
    }
    const body = bodies.get(route);
    return { body: body && refer(body.name), isBodyOptional: body?.isOptional === true, answer: answers[route] };
  };
}

/** @param scope undefined for a route that anybody may call */
function describeRoute(method: string, resource: string, scope: string | undefined, content: Content): object {
  const route = `${method} ${resource}`;
  const operation = ALL_OPERATIONS[route];
  if (operation === undefined) throw new Error(`${route} is not described`);
  const { id, summary, tag, query = [], example, idempotent } = operation;
  const json = content.body && { schema: content.body, ...(example === undefined ? {} : { example }) };
  const parameters = [...query.map(toParameter), ...(idempotent ? [IDEMPOTENCY_KEY] : [])];
  return {
    operationId: id,
    summary,
    tags: [tag],
    ...describeAccess(resource, scope),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(json === undefined
      ? {}
      : { requestBody: { required: !content.isBodyOptional, content: describeBody(json, operation) } }),
    responses: describeResponses(
      operation,
      content.answer,
      resource,
      method === 'POST' ? createLinks(resource) : {},
      scope !== undefined,
    ),
  };
}

function describeAccess(resource: string, scope: string | undefined): object {
  if (scope === undefined) return { security: [] };
  const key = { key: [scope] };
  const security = isCalledEachTime({ resource }) ? [key, { keyHeader: [scope] }] : [key];
  return { security, 'x-lambent-scope': scope };
}

function describeBody(json: object, { bodyMayBeForm }: Operation): object {
  return { 'application/json': json, ...(bodyMayBeForm ? { 'application/x-www-form-urlencoded': json } : {}) };
}

function refer(component: string): Schema {
  return { $ref: `#/components/schemas/${component}` };
}

/** Returns links from the answer that creates an object to the routes that take its id. */
function createLinks(resource: string): Record<string, object> {
  const following = Object.entries(OPERATIONS).filter(([route]) => route.endsWith(` ${resource}/{id}`));
  const parameters = { id: '$response.body#/id' };
  return Object.fromEntries(following.map(([, { id }]) => [id, { operationId: id, parameters }]));
}

function describeResponses(
  { tag, streams, errors = [] }: Operation,
  answer: Schema | undefined,
  resource: string,
  links: object,
  needsKey: boolean,
): object {
  const prefix = resource.startsWith('/v1/messages') ? 'Messages' : needsKey ? '' : 'Token';
  const common = COMMON_ERRORS.filter((status) => needsKey || !KEY_ERRORS.includes(status));
  const all = [...new Set([...common, ...errors])].toSorted((a, b) => a - b);
  const statuses = tag === 'Admin' ? ADMIN_ERRORS : all;
  const success = answer && {
    description: 'OK',
    ...(tag === 'Admin' ? {} : { headers: { 'x-request-id': { $ref: '#/components/headers/RequestId' } } }),
    content: {
      'application/json': { schema: answer },
      ...(streams ? { 'text/event-stream': { schema: { type: 'string' } } } : {}),
    },
    ...(Object.keys(links).length > 0 ? { links } : {}),
  };
  return {
    ...(success === undefined ? {} : { 200: success }),
    ...Object.fromEntries(statuses.map((status) => [status, { $ref: `#/components/responses/${prefix}${status}` }])),
  };
}

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'Requests of a tenant with the same key are carried out once.',
  schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[!-~]+$' },
};

function listPathParameters(resource: string): object[] {
  return [...resource.matchAll(/\{(\w+)\+?\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string', minLength: 1 },
  }));
}

function toParameter({ name, description, schema, style }: QueryParameter): object {
  const isList = schema['type'] === 'array';
  return {
    name,
    in: 'query',
    description,
    schema,
    ...(style === undefined ? {} : { style, explode: true }),
    ...(isList ? { style: 'form', explode: false } : {}),
  };
}
