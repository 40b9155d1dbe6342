import { beforeAll, describe, expect, test } from 'vitest';
import { createCors } from '../../infra/cors.ts';
import { completeGateway } from '../../infra/gateway.ts';
import type { Resources, Template } from '../../infra/template.ts';
import { type ErrorCode, LambentError } from '../../shared/core/errors.ts';
import { encodeErrorBody, errorHeadersFor, httpStatusFor } from '../../shared/openai/errors.ts';
import { EVERYTHING, ofType, packaged } from './packaged.ts';

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html */
const RESPONSE_TYPES = [
  ...['ACCESS_DENIED', 'API_CONFIGURATION_ERROR', 'AUTHORIZER_CONFIGURATION_ERROR', 'AUTHORIZER_FAILURE'],
  ...[
    'BAD_REQUEST_BODY',
    'BAD_REQUEST_PARAMETERS',
    'DEFAULT_4XX',
    'DEFAULT_5XX',
    'EXPIRED_TOKEN',
    'INTEGRATION_FAILURE',
  ],
  ...['INTEGRATION_TIMEOUT', 'INVALID_API_KEY', 'INVALID_SIGNATURE', 'MISSING_AUTHENTICATION_TOKEN', 'QUOTA_EXCEEDED'],
  ...['REQUEST_TOO_LARGE', 'RESOURCE_NOT_FOUND', 'THROTTLED', 'UNAUTHORIZED', 'UNSUPPORTED_MEDIA_TYPE', 'WAF_FILTERED'],
];

/** Statuses with which OpenAI's clients would be misled, had these the ones that API Gateway gives them. */
const STATUSES = {
  ACCESS_DENIED: 401,
  UNAUTHORIZED: 401,
  MISSING_AUTHENTICATION_TOKEN: 404,
  INTEGRATION_FAILURE: 500,
  INTEGRATION_TIMEOUT: 504,
  AUTHORIZER_FAILURE: 500,
  REQUEST_TOO_LARGE: 413,
  THROTTLED: 429,
  QUOTA_EXCEEDED: 429,
  WAF_FILTERED: 403,
};

let minimal: Template;
let everything: Template;
beforeAll(async () => {
  [minimal, everything] = await Promise.all([packaged(), packaged(...EVERYTHING)]);
});

const methodsOf = (template: Template) =>
  ofType(template, 'AWS::ApiGateway::Method').filter(({ properties }) => properties['HttpMethod'] !== 'OPTIONS');

interface Answer {
  readonly type: string;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

function answersOf(template: Template): Answer[] {
  return ofType(template, 'AWS::ApiGateway::GatewayResponse').map(({ properties }) => ({
    type: String(properties['ResponseType']),
    status: properties['StatusCode'] === undefined ? undefined : Number(properties['StatusCode']),
    headers: Object.fromEntries(
      Object.entries(Object(properties['ResponseParameters'])).map(([name, value]) => [
        name.replace('gatewayresponse.header.', ''),
        String(value).replace(/^'(.*)'$/, '$1'),
      ]),
    ),
    body: JSON.parse(Object(properties['ResponseTemplates'])['application/json']),
  }));
}

describe('the API', () => {
  test('is regional: an edge endpoint ends a stream after 30 silent seconds', () => {
    expect(minimal.Resources['ApiGatewayRestApi']?.Properties?.['EndpointConfiguration']).toEqual({
      Types: ['REGIONAL'],
    });
  });

  test('has the routes of the design', () => {
    expect(Object.keys(minimal.Resources).filter((id) => id.startsWith('ApiGatewayMethod'))).toEqual([
      'ApiGatewayMethodV1ChatCompletionsPost',
      'ApiGatewayMethodV1ResponsesPost',
      'ApiGatewayMethodV1ModelsGet',
      'ApiGatewayMethodV1ModelsIdVarGet',
      ...['Post', 'IdVarGet', 'IdVarPost', 'IdVarDelete'].map((name) => `ApiGatewayMethodV1Conversations${name}`),
      ...['Get', 'Post'].map((name) => `ApiGatewayMethodV1ConversationsIdVarItems${name}`),
      ...['Get', 'Delete'].map((name) => `ApiGatewayMethodV1ConversationsIdVarItemsItemVar${name}`),
      ...['Get', 'Delete', 'CancelPost', 'InputitemsGet'].map((name) => `ApiGatewayMethodV1ResponsesIdVar${name}`),
    ]);
    expect(minimal.Resources['ApiGatewayResourceV1ModelsIdVar']?.Properties?.['PathPart']).toBe('{id+}');
  });

  test('streams every route, for as long as API Gateway allows', () => {
    for (const { id, properties } of methodsOf(everything)) {
      expect(properties['Integration'], id).toMatchObject({
        Type: 'AWS_PROXY',
        ResponseTransferMode: 'STREAM',
        TimeoutInMillis: 900_000,
      });
      expect(JSON.stringify(properties['Integration'])).toContain('/response-streaming-invocations');
    }
  });

  test('asks the authorizer on every route, and forgets its answer within 30 seconds', () => {
    for (const { properties } of methodsOf(everything)) {
      expect(properties).toMatchObject({
        AuthorizationType: 'CUSTOM',
        AuthorizerId: { Ref: 'AuthorizeApiGatewayAuthorizer' },
      });
    }
    const [authorizer, ...others] = ofType(minimal, 'AWS::ApiGateway::Authorizer');
    expect(others).toEqual([]);
    expect(authorizer?.properties).toMatchObject({
      Type: 'REQUEST',
      IdentitySource: 'method.request.header.Authorization',
    });
    expect(authorizer?.properties['AuthorizerResultTtlInSeconds']).toBeLessThanOrEqual(30);
  });

  test('is throttled, and logs no headers or bodies', () => {
    for (const template of [minimal, everything]) {
      expect(template.Resources['ApiGatewayStage']?.Properties?.['MethodSettings']).toEqual([
        expect.objectContaining({
          HttpMethod: '*',
          ResourcePath: '/*',
          ThrottlingRateLimit: 50,
          ThrottlingBurstLimit: 100,
          LoggingLevel: 'OFF',
          DataTraceEnabled: false,
        }),
      ]);
    }
  });

  test('has an access log by setting only, with one JSON object a line', () => {
    expect(minimal.Resources['ApiGatewayStage']?.Properties).not.toHaveProperty('AccessLogSetting');
    const setting = Object(everything.Resources['ApiGatewayStage']?.Properties?.['AccessLogSetting']);
    const line = String(setting.Format).replace(/\$context\.(status|requestTimeEpoch)\b/g, '1');
    expect(JSON.parse(line)).toHaveProperty('requestId', '$context.requestId');
    expect(setting.Format).not.toMatch(/header|querystring|body/i);
  });
});

describe('what API Gateway answers by itself', () => {
  test('is defined for everything that it can answer', () => {
    expect(
      answersOf(minimal)
        .map(({ type }) => type)
        .sort(),
    ).toEqual(RESPONSE_TYPES);
  });

  test.each(RESPONSE_TYPES)('%s is the very answer that the service gives for the same code', (type) => {
    const answer = answersOf(minimal).find((candidate) => candidate.type === type);
    expect(answer).toBeDefined();
    const { message, code, ...others } = Object(Object(answer?.body).error);
    expect(message).toMatch(/^[A-Z].*\.$/);
    const { 'x-request-id': requestId, ...headers } = answer?.headers ?? {};
    expect(requestId).toBe('context.requestId');
    if (code === null) {
      expect([type, others]).toEqual(['DEFAULT_4XX', { type: 'invalid_request_error', param: null }]);
      return;
    }
    const error = new LambentError(code as ErrorCode, message);
    expect(answer?.body).toEqual(encodeErrorBody(error));
    expect(headers).toEqual(errorHeadersFor(error));
    expect(answer?.status ?? httpStatusFor(error)).toBe(httpStatusFor(error));
  });

  test.each(Object.entries(STATUSES))('%s is %d', (type, status) => {
    expect(answersOf(minimal).find((answer) => answer.type === type)?.status).toBe(status);
  });

  test('keeps the status that it comes with where it has no type of its own', () => {
    const defaults = answersOf(minimal).filter(({ type }) => type.startsWith('DEFAULT_'));
    expect(defaults.map(({ status }) => status)).toEqual([undefined, undefined]);
  });
});

describe('browsers', () => {
  test('are not let in by default', () => {
    expect(JSON.stringify(minimal)).not.toMatch(/access-control-allow-origin/i);
  });

  test('of one origin are, by setting: preflights, and every answer of API Gateway', () => {
    const preflights = ofType(everything, 'AWS::ApiGateway::Method').filter(
      ({ properties }) => properties['HttpMethod'] === 'OPTIONS',
    );
    const resources = new Set(methodsOf(everything).map(({ properties }) => JSON.stringify(properties['ResourceId'])));
    expect(preflights).toHaveLength(resources.size);
    for (const { properties } of preflights) {
      expect(properties).toMatchObject({ AuthorizationType: 'NONE', Integration: { Type: 'MOCK' } });
      const text = JSON.stringify(properties);
      expect(text).toContain(`"method.response.header.Access-Control-Allow-Origin":"'https://app.example.com'"`);
      expect(text).toContain(`"method.response.header.Access-Control-Allow-Headers":"'authorization,*'"`);
    }
    for (const { headers } of answersOf(everything)) {
      expect(headers['access-control-allow-origin']).toBe('https://app.example.com');
    }
  });

  test.each(['https://a.example,https://b.example', 'app.example.com', "https://x'"])(
    'are not let in from %s, which is no origin',
    async (origin) => {
      await expect(createCors({ resolveVariable: async () => origin })).rejects.toThrow(/corsOrigin is not valid/);
    },
  );
});

describe('a deployment of the API', () => {
  const resources = (message: string, rate: number): Resources => ({
    Method: { Type: 'AWS::ApiGateway::Method', Properties: {} },
    Answer: { Type: 'AWS::ApiGateway::GatewayResponse', Properties: { ResponseTemplates: message } },
    ApiGatewayDeployment1700000000000: {
      Type: 'AWS::ApiGateway::Deployment',
      DependsOn: ['Method'],
      Properties: { RestApiId: { Ref: 'ApiGatewayRestApi' }, StageName: 'dev' },
    },
    ApiGatewayStage: { Type: 'AWS::ApiGateway::Stage', Properties: { ThrottlingRateLimit: rate } },
  });
  const deploymentOf = (template: Resources) =>
    Object.entries(template).find(([, { Type }]) => Type === 'AWS::ApiGateway::Deployment');

  test('waits for the answers of API Gateway, which it would lack otherwise', () => {
    expect(deploymentOf(completeGateway(resources('a', 1), ''))?.[1].DependsOn).toEqual(['Answer', 'Method']);
  });

  test('makes no stage of its own, but is what the stage shows', () => {
    const completed = completeGateway(resources('a', 1), '');
    const [id, deployment] = deploymentOf(completed) ?? [];
    expect(deployment?.Properties).toEqual({ RestApiId: { Ref: 'ApiGatewayRestApi' } });
    expect(completed['ApiGatewayStage']?.Properties).toEqual({ ThrottlingRateLimit: 1, DeploymentId: { Ref: id } });
  });

  test('is a new one when the API changes, and only then', () => {
    const idOf = (template: Resources, origin = '') => deploymentOf(completeGateway(template, origin))?.[0];
    expect(idOf(resources('a', 2))).toBe(idOf(resources('a', 1)));
    expect(idOf(resources('b', 1))).not.toBe(idOf(resources('a', 1)));
    expect(idOf(resources('a', 1), '*')).not.toBe(idOf(resources('a', 1)));
  });
});
