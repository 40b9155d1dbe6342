import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { completeGateway } from '../../infra/gateway.ts';
import { DOCUMENT_FILE } from '../../infra/openapi/served.ts';
import type { Resources, Template } from '../../infra/template.ts';
import { isCalledEachTime } from '../../shared/access/request-keys.ts';
import { type ErrorCode, LambentError } from '../../shared/core/errors.ts';
import { encodeErrorBody } from '../../shared/openai/errors.ts';
import { errorHeadersFor, httpStatusFor } from '../../shared/wire/error-responses.ts';
import { EVERYTHING, findByType, packageStage } from './packaged.ts';

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

/** Statuses that differ from API Gateway's defaults, because OpenAI's clients would misinterpret those. */
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
  [minimal, everything] = await Promise.all([packageStage(), packageStage(...EVERYTHING)]);
});

const listMethods = (template: Template) =>
  findByType(template, 'AWS::ApiGateway::Method').filter(
    ({ properties }) => Object(properties['Integration']).Type !== 'MOCK',
  );

interface GatewayResponse {
  readonly type: string;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

function listGatewayResponses(template: Template): GatewayResponse[] {
  return findByType(template, 'AWS::ApiGateway::GatewayResponse').map(({ properties }) => ({
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
  it('the API is regional, because an edge endpoint ends a stream after 30 seconds of silence', () => {
    expect(minimal.Resources['ApiGatewayRestApi']?.Properties?.['EndpointConfiguration']).toEqual({
      Types: ['REGIONAL'],
    });
  });

  it('the API has exactly the documented routes', () => {
    expect(Object.keys(minimal.Resources).filter((id) => id.startsWith('ApiGatewayMethod'))).toEqual([
      'ApiGatewayMethodV1ChatCompletionsPost',
      'ApiGatewayMethodV1ResponsesPost',
      'ApiGatewayMethodV1MessagesPost',
      'ApiGatewayMethodV1MessagesCounttokensPost',
      'ApiGatewayMethodV1ResponsesCompactPost',
      'ApiGatewayMethodV1ResponsesInputtokensPost',
      'ApiGatewayMethodV1ModelsGet',
      'ApiGatewayMethodV1ModelsIdVarGet',
      'ApiGatewayMethodV1EmbeddingsPost',
      'ApiGatewayMethodV1ModerationsPost',
      ...['Post', 'IdVarGet', 'IdVarPost', 'IdVarDelete'].map((name) => `ApiGatewayMethodV1Conversations${name}`),
      ...['Get', 'Post'].map((name) => `ApiGatewayMethodV1ConversationsIdVarItems${name}`),
      ...['Get', 'Delete'].map((name) => `ApiGatewayMethodV1ConversationsIdVarItemsItemVar${name}`),
      'ApiGatewayMethodV1ResponsesGet',
      ...['Get', 'Delete', 'CancelPost', 'InputitemsGet'].map((name) => `ApiGatewayMethodV1ResponsesIdVar${name}`),
      ...['Get', 'IdVarGet', 'IdVarPost', 'IdVarDelete', 'IdVarMessagesGet'].map(
        (name) => `ApiGatewayMethodV1ChatCompletions${name}`,
      ),
      'ApiGatewayMethodV1OauthTokenPost',
      ...['Organization', 'Projects'].flatMap((prefix) =>
        ['Get', 'Post', 'Delete'].map((method) => `ApiGatewayMethodV1${prefix}PathVar${method}`),
      ),
    ]);
    expect(minimal.Resources['ApiGatewayResourceV1ModelsIdVar']?.Properties?.['PathPart']).toBe('{id+}');
  });

  it("the API streams every route, with API Gateway's maximum timeout", () => {
    for (const { id, properties } of listMethods(everything)) {
      expect(properties['Integration'], id).toMatchObject({
        Type: 'AWS_PROXY',
        ResponseTransferMode: 'STREAM',
        TimeoutInMillis: 900_000,
      });
      expect(JSON.stringify(properties['Integration'])).toContain('/response-streaming-invocations');
    }
  });

  it('the API calls the authorizer on every route but that for tokens, and caches its result for at most 30 seconds', () => {
    for (const { id, properties } of listMethods(everything)) {
      // The token in its body is the caller's credential.
      if (id === 'ApiGatewayMethodV1OauthTokenPost') {
        expect(properties['AuthorizationType']).toBe('NONE');
        continue;
      }
      expect(properties).toMatchObject({
        AuthorizationType: 'CUSTOM',
        AuthorizerId: { Ref: expect.stringMatching(/^Authorize(Keyheader|KeyHeader)?ApiGatewayAuthorizer$/) },
      });
    }
    const authorizer = findByType(minimal, 'AWS::ApiGateway::Authorizer').find(
      ({ id }) => id === 'AuthorizeApiGatewayAuthorizer',
    );
    expect(authorizer?.properties).toMatchObject({
      Type: 'REQUEST',
      IdentitySource: 'method.request.header.Authorization',
    });
    expect(authorizer?.properties['AuthorizerResultTtlInSeconds']).toBeLessThanOrEqual(30);
  });

  it('the API calls the authorizer with each request, without required headers, where keys may be in x-api-key', () => {
    const event = ({ id }: { id: string }) => {
      const name = id.replace('ApiGatewayMethod', '');
      return {
        resource: name.startsWith('V1Messages') ? '/v1/messages' : name.startsWith('V1Models') ? '/v1/models' : '/v1/x',
      };
    };
    for (const { id, properties } of listMethods(everything)) {
      if (properties['AuthorizerId'] === undefined) continue;
      const isEach = Object(properties['AuthorizerId']).Ref !== 'AuthorizeApiGatewayAuthorizer';
      expect(isCalledEachTime(event({ id })), id).toBe(isEach);
    }
    const authorizers = findByType(everything, 'AWS::ApiGateway::Authorizer');
    const each = authorizers.find(({ id }) => id !== 'AuthorizeApiGatewayAuthorizer');
    expect(each?.properties).toMatchObject({ Type: 'REQUEST', AuthorizerResultTtlInSeconds: 0 });
    expect(each?.properties).not.toHaveProperty('IdentitySource');
    // Both call the same alias of the function.
    expect(new Set(authorizers.map(({ properties }) => JSON.stringify(properties['AuthorizerUri']))).size).toBe(1);
  });

  it('the API itself answers HEAD / with status 200', () => {
    expect(everything.Resources['HeadMethod']?.Properties).toMatchObject({
      HttpMethod: 'HEAD',
      AuthorizationType: 'NONE',
      Integration: { Type: 'MOCK', RequestTemplates: { 'application/json': '{"statusCode": 200}' } },
      MethodResponses: [{ StatusCode: '200' }],
    });
    const deployment = Object.values(everything.Resources).find(({ Type }) => Type === 'AWS::ApiGateway::Deployment');
    expect(deployment?.DependsOn).toContain('HeadMethod');
  });

  it('the API itself answers GET /openapi.json with its description, and any caller may read that', async () => {
    const { Properties } = everything.Resources['OpenApiMethod'] ?? {};
    expect(Properties).toMatchObject({ HttpMethod: 'GET', AuthorizationType: 'NONE', Integration: { Type: 'MOCK' } });
    const [response] = Object(Properties?.['Integration']).IntegrationResponses;
    const template: string = response.ResponseTemplates['application/json'];
    expect(JSON.parse(template)).toEqual(JSON.parse(await readFile(DOCUMENT_FILE, 'utf8')));
    // Neither may begin a reference or directive of the template.
    expect(template).not.toMatch(/[$#]/);
    // https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
    expect(Buffer.byteLength(template)).toBeLessThan(300_000);
    const deployment = Object.values(everything.Resources).find(({ Type }) => Type === 'AWS::ApiGateway::Deployment');
    expect(deployment?.DependsOn).toContain('OpenApiMethod');
  });

  it('the API throttles requests, exchanges of tokens further, and logs no headers or bodies', () => {
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
        // Slashes are written as in a JSON pointer.
        // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-apigateway-stage-methodsetting.html
        {
          HttpMethod: 'POST',
          ResourcePath: '/~1v1~1oauth~1token',
          ThrottlingRateLimit: 10,
          ThrottlingBurstLimit: 50,
          LoggingLevel: 'OFF',
          DataTraceEnabled: false,
          MetricsEnabled: false,
        },
      ]);
    }
  });

  it('the API writes an access log only if accessLog is set, one JSON object per line', () => {
    expect(minimal.Resources['ApiGatewayStage']?.Properties).not.toHaveProperty('AccessLogSetting');
    const setting = Object(everything.Resources['ApiGatewayStage']?.Properties?.['AccessLogSetting']);
    const line = String(setting.Format).replace(/\$context\.(status|requestTimeEpoch)\b/g, '1');
    expect(JSON.parse(line)).toHaveProperty('requestId', '$context.requestId');
    expect(setting.Format).not.toMatch(/header|querystring|body/i);
  });
});

describe("API Gateway's own error responses", () => {
  it('the error responses of API Gateway are defined for every response type', () => {
    expect(
      listGatewayResponses(minimal)
        .map(({ type }) => type)
        .sort(),
    ).toEqual(RESPONSE_TYPES);
  });

  it.each(RESPONSE_TYPES)(
    'the error response %s of API Gateway equals the error of the service with the same code',
    (type) => {
      const response = listGatewayResponses(minimal).find((candidate) => candidate.type === type);
      expect(response).toBeDefined();
      const { message, code, ...others } = Object(Object(response?.body).error);
      expect(message).toMatch(/^[A-Z].*\.$/);
      const { 'x-request-id': requestId, 'request-id': anthropicId, ...headers } = response?.headers ?? {};
      expect([requestId, anthropicId]).toEqual(['context.requestId', 'context.requestId']);
      if (code === null) {
        expect([type, others]).toEqual(['DEFAULT_4XX', { type: 'invalid_request_error', param: null }]);
        return;
      }
      const error = new LambentError(code as ErrorCode, message);
      // Anthropic's clients look for the type, and OpenAI's ignore it.
      expect(response?.body).toEqual({ type: 'error', ...encodeErrorBody(error) });
      expect(headers).toEqual(errorHeadersFor(error));
      expect(response?.status ?? httpStatusFor(error)).toBe(httpStatusFor(error));
    },
  );

  it.each(Object.entries(STATUSES))('the error response %s of API Gateway has the status %d', (type, status) => {
    expect(listGatewayResponses(minimal).find((answer) => answer.type === type)?.status).toBe(status);
  });

  it('the default error responses of API Gateway keep its status for errors without a type of their own', () => {
    const defaults = listGatewayResponses(minimal).filter(({ type }) => type.startsWith('DEFAULT_'));
    expect(defaults.map(({ status }) => status)).toEqual([undefined, undefined]);
  });
});

describe('CORS', () => {
  it('CORS is off by default', () => {
    expect(JSON.stringify(minimal)).not.toMatch(/access-control-allow-origin/i);
  });

  it('CORS allows the origin in corsOrigin, in preflights and in every error response of API Gateway', () => {
    const preflights = findByType(everything, 'AWS::ApiGateway::Method').filter(
      ({ properties }) => properties['HttpMethod'] === 'OPTIONS',
    );
    const resources = new Set(
      listMethods(everything).map(({ properties }) => JSON.stringify(properties['ResourceId'])),
    );
    expect(preflights).toHaveLength(resources.size);
    for (const { properties } of preflights) {
      expect(properties).toMatchObject({ AuthorizationType: 'NONE', Integration: { Type: 'MOCK' } });
      const text = JSON.stringify(properties);
      expect(text).toContain(`"method.response.header.Access-Control-Allow-Origin":"'https://app.example.com'"`);
      expect(text).toContain(`"method.response.header.Access-Control-Allow-Headers":"'authorization,*'"`);
    }
    for (const { headers } of listGatewayResponses(everything)) {
      expect(headers['access-control-allow-origin']).toBe('https://app.example.com');
    }
  });
});

describe('the deployment resource of the API', () => {
  const createResources = (message: string, rate: number): Resources => ({
    Method: { Type: 'AWS::ApiGateway::Method', Properties: {} },
    Answer: { Type: 'AWS::ApiGateway::GatewayResponse', Properties: { ResponseTemplates: message } },
    Call: { Type: 'AWS::Lambda::Permission', Properties: { Principal: 'apigateway.amazonaws.com' } },
    Schedule: { Type: 'AWS::Lambda::Permission', Properties: { Principal: 'events.amazonaws.com' } },
    ApiGatewayDeployment1700000000000: {
      Type: 'AWS::ApiGateway::Deployment',
      DependsOn: ['Method'],
      Properties: { RestApiId: { Ref: 'ApiGatewayRestApi' }, StageName: 'dev' },
    },
    ApiGatewayStage: { Type: 'AWS::ApiGateway::Stage', Properties: { ThrottlingRateLimit: rate } },
  });
  const findDeployment = (template: Resources) =>
    Object.entries(template).find(([, { Type }]) => Type === 'AWS::ApiGateway::Deployment');

  it('the deployment depends on what its snapshot contains and on the permissions to call functions', () => {
    const [, deployment] = findDeployment(completeGateway(createResources('a', 1), '')) ?? [];
    expect(deployment?.DependsOn).toEqual(['Answer', 'Call', 'Method']);
  });

  it('the deployment creates no stage, and the stage refers to it', () => {
    const completed = completeGateway(createResources('a', 1), '');
    const [id, deployment] = findDeployment(completed) ?? [];
    expect(deployment?.Properties).toEqual({ RestApiId: { Ref: 'ApiGatewayRestApi' } });
    expect(completed['ApiGatewayStage']?.Properties).toEqual({ ThrottlingRateLimit: 1, DeploymentId: { Ref: id } });
  });

  it('the deployment gets a new logical id only if the API changes', () => {
    const idAfter = (template: Resources, origin = '') => findDeployment(completeGateway(template, origin))?.[0];
    expect(idAfter(createResources('a', 2))).toBe(idAfter(createResources('a', 1)));
    expect(idAfter(createResources('b', 1))).not.toBe(idAfter(createResources('a', 1)));
    expect(idAfter(createResources('a', 1), '*')).not.toBe(idAfter(createResources('a', 1)));
  });
});
