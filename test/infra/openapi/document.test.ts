import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { expect, it } from 'vitest';
import { createDocument } from '../../../infra/openapi/document.ts';
import { convertRequestSchemas } from '../../../infra/openapi/request-schemas.ts';
import { DOCUMENT_FILE, printDocument, readTemplate } from '../../../infra/openapi/served.ts';
import { QUERIES } from '../../../shared/admin/queries.ts';
import { createUnsupportedRoutes } from '../../../shared/admin/unsupported.ts';
import { PUBLIC_ROUTES, ROUTES } from '../../../shared/api/route-table.ts';
import {
  arrayOf,
  integer,
  object,
  oneOf,
  string,
  textOrParts,
  unsupported,
  variant,
} from '../../../shared/openai/schema.ts';

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly ({ readonly name: string } | { readonly $ref: string })[];
  readonly requestBody?: object;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly 'x-lambent-scope'?: string;
  readonly responses: Readonly<Record<string, unknown>>;
}

const document = createDocument() as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>> & { readonly parameters?: never }>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, unknown>>;
    readonly parameters: Readonly<Record<string, { readonly name: string }>>;
  };
};
const operations = Object.entries(document.paths).flatMap(([path, { parameters: _, ...methods }]) =>
  Object.entries(methods).map(([method, operation]) => ({ route: `${method.toUpperCase()} ${path}`, operation })),
);

const getName = (parameter: { readonly name: string } | { readonly $ref: string }) =>
  '$ref' in parameter
    ? document.components.parameters[parameter.$ref.replace('#/components/parameters/', '')]?.name
    : parameter.name;

it('docs/openapi.json is what `npm run openapi` writes', async () => {
  expect(await readFile(DOCUMENT_FILE, 'utf8'), 'Run npm run openapi').toBe(printDocument(createDocument()));
});

it('the description of the API has every route of the route table, each with its scope unless anybody may call it', () => {
  const described = operations.map(({ route, operation }) => [route, operation['x-lambent-scope']]);
  const table: (readonly [string, string | undefined])[] = [
    ...Object.values(ROUTES).flatMap((part) => Object.entries(part)),
    ...PUBLIC_ROUTES.map((route) => [route, undefined] as const),
  ];
  expect(Object.fromEntries(described)).toEqual(
    Object.fromEntries(table.map(([route, scope]) => [route.replace('+}', '}'), scope])),
  );
  for (const { operation } of operations) {
    expect(operation.security.length > 0).toBe(operation['x-lambent-scope'] !== undefined);
    for (const alternative of operation.security)
      for (const scopes of Object.values(alternative)) expect(scopes).toEqual([operation['x-lambent-scope']]);
  }
});

it('each operation has an id of its own, and the errors that any route may answer', () => {
  expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(operations.length);
  for (const { route, operation } of operations) {
    const errors = ['400', '429', '500', ...(operation.security.length > 0 ? ['401', '403'] : [])];
    const expected = Object.hasOwn(ROUTES.admin, route) ? ['4XX', '5XX'] : errors;
    expect(Object.keys(operation.responses), route).toEqual(expect.arrayContaining(expected));
  }
});

it('a route lists objects by pages, reports usage by buckets, or has neither', () => {
  for (const { route, operation } of operations.filter(({ route }) => Object.hasOwn(ROUTES.admin, route))) {
    const names = operation.parameters?.map(getName) ?? [];
    expect(names.includes('after'), route).toBe(operation.summary.startsWith('List '));
    expect(names.includes('start_time'), route).toBe(operation.summary.startsWith('Report '));
  }
});

it('the query parameters of each route of the administration are those that it accepts, and others refer to nothing', () => {
  const admin = operations.filter(({ route }) => Object.hasOwn(ROUTES.admin, route));
  const described = admin.map(({ route, operation }) => {
    const names = operation.parameters?.map(getName) ?? [];
    return [route, names.filter((name) => name !== undefined && !route.includes(`{${name}}`))] as const;
  });
  const accepted = admin.map(({ route }) => [route, QUERIES[route]?.names ?? []] as const);
  expect(Object.fromEntries(described)).toEqual(Object.fromEntries(accepted));
  expect(Object.keys(ROUTES.admin)).toEqual(expect.arrayContaining(Object.keys(QUERIES)));
});

it.each([
  ['GET /v1/organization/projects', 'List the projects'],
  ['GET /v1/organization/projects/{project}/spend_limit', 'Retrieve the spend limit of a project'],
  ['GET /v1/organization/projects/{project}/policy', 'Retrieve the policy of a project'],
  ['POST /v1/organization/projects/{project}/archive', 'Archive a project'],
  ['GET /v1/organization/costs', 'Report the costs'],
])('the summary of %s is: %s', (route, summary) => {
  expect(operations.find((each) => each.route === route)?.operation.summary).toBe(summary);
});

it('a route has an answer unless it only refuses', () => {
  for (const { route, operation } of operations)
    expect(Object.hasOwn(operation.responses, '200'), route).toBe(!operation.summary.startsWith('Refuse '));
  const refusing = operations
    .filter(({ operation }) => operation.summary.startsWith('Refuse '))
    .map(({ route }) => route);
  expect(new Set(refusing)).toEqual(new Set(['GET /v1/responses', ...Object.keys(createUnsupportedRoutes())]));
});

it('each answer of the administration is an object with fields, and each POST with a body describes it', () => {
  const administration = operations.filter(({ route }) => Object.hasOwn(ROUTES.admin, route));
  for (const { route, operation } of administration.filter(
    ({ operation }) => !operation.summary.startsWith('Refuse '),
  )) {
    const answer = expect(JSON.stringify(operation.responses['200']), route);
    answer.toMatch(/"schema":\{("type":"object","properties":|"anyOf":|"\$ref":)/);
  }
  const bodiless = administration.filter(
    ({ route, operation }) => route.startsWith('POST ') && operation.requestBody === undefined,
  );
  expect(bodiless.map(({ route }) => route)).toEqual([
    'POST /v1/organization/external_keys/{externalKey}/validate',
    'POST /v1/organization/external_storage',
    'POST /v1/organization/external_storage/{storage}/validate',
    'POST /v1/organization/invites',
    'POST /v1/organization/projects/{project}/hosted_tool_permissions',
    'POST /v1/organization/projects/{project}/service_tier_settings',
  ]);
});

it('a request and an answer of the administration are described by what the code checks and encodes', () => {
  const { CreateGroupRequest, ProjectModelPermissions, Policy } = document.components.schemas;
  expect(CreateGroupRequest).toEqual({
    type: 'object',
    properties: { name: { type: 'string', minLength: 1, maxLength: 256 } },
    required: ['name'],
  });
  expect(ProjectModelPermissions).toEqual({
    type: 'object',
    properties: {
      object: { const: 'project.model_permissions' },
      mode: { enum: ['allow_list', 'deny_list'] },
      model_ids: { type: 'array', items: { type: 'string' } },
    },
    required: ['object', 'mode', 'model_ids'],
  });
  expect(Policy).toHaveProperty('properties.limits.properties.requestsPerMinute');
});

it('the description of the API is small enough for a mapping template of API Gateway, which has at most 300 KB', async () => {
  // https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
  expect(Buffer.byteLength(await readTemplate())).toBeLessThan(300_000);
});

it('a request schema is described by what it accepts, whatever its input selects', () => {
  const part = variant('type', { text: object({ type: v.literal('text'), text: string }) }, ['audio']);
  const schema = object({
    count: integer(1, 5),
    content: textOrParts(arrayOf(part, 'objects', { min: 1 })),
    mode: v.nullish(oneOf(['fast', 'slow'])),
    refused: unsupported('is not supported.'),
  });
  expect(convertRequestSchemas({ Body: schema })).toEqual({
    Body: {
      type: 'object',
      properties: {
        count: { type: 'integer', minimum: 1, maximum: 5 },
        content: {
          anyOf: [
            { type: 'string' },
            {
              type: 'array',
              items: {
                type: 'object',
                properties: { type: { const: 'text' }, text: { type: 'string' } },
                required: ['type', 'text'],
              },
              minItems: 1,
            },
          ],
        },
        mode: { type: ['string', 'null'], enum: ['fast', 'slow', null] },
      },
      required: ['count', 'content'],
    },
  });
});

it('a request schema that accepts values in a way that has no description is refused', () => {
  const schema = v.object({ even: v.custom<number>((input) => Number(input) % 2 === 0) });
  expect(() => convertRequestSchemas({ Body: schema })).toThrow('A custom schema accepts values of no type');
});

it('a schema that several requests have is described once', () => {
  const { InputItem, ResponseRequest } = document.components.schemas;
  expect(InputItem).toHaveProperty('anyOf');
  expect(JSON.stringify(ResponseRequest)).toContain('{"$ref":"#/components/schemas/InputItem"}');
});
