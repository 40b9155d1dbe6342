import { describe, expect, it } from 'vitest';
import { createGatewayResponses } from '../../../local/gateway/gateway-responses.ts';

const context = { requestId: 'r-1', identity: { sourceIp: '192.0.2.1' } };

describe("API Gateway's own responses", () => {
  it("the gateway's own responses are those of AWS without a definition", () => {
    expect(createGatewayResponses([]).render('UNAUTHORIZED', context)).toEqual({
      status: 401,
      headers: { 'Content-Type': 'application/json', 'x-amzn-ErrorType': 'UnauthorizedException' },
      body: '{"message":"Unauthorized"}',
    });
  });

  it("the gateway's own responses are rendered from their definition", () => {
    const { status, headers, body } = createGatewayResponses([
      {
        responseType: 'ACCESS_DENIED',
        statusCode: 401,
        templates: {
          'application/json': `{"id":"$context.requestId","m":$context.error.messageString,
            "t":"$${'{context.error.responseType}'}","ip":"$context.identity.sourceIp",
            "none":"$context.no.such","price":"$5"}`,
        },
        parameters: {
          'gatewayresponse.header.x-request-id': 'context.requestId',
          'gatewayresponse.header.x-text': "'it''s, fixed'",
        },
      },
    ]).render('ACCESS_DENIED', context);
    expect(status).toBe(401);
    expect(headers).toMatchObject({ 'x-request-id': 'r-1', 'x-text': "it''s, fixed" });
    expect(JSON.parse(body)).toEqual({
      id: 'r-1',
      m: expect.stringContaining('not authorized'),
      t: 'ACCESS_DENIED',
      ip: '192.0.2.1',
      none: '',
      price: '$5',
    });
  });

  it("the gateway's own responses use the default of their class, with the status of their type", () => {
    const answers = createGatewayResponses([
      {
        responseType: 'DEFAULT_4XX',
        statusCode: undefined,
        templates: { 'application/json': '"4xx"' },
        parameters: {},
      },
      { responseType: 'DEFAULT_5XX', statusCode: 503, templates: { 'application/json': '"5xx"' }, parameters: {} },
    ]);
    expect(answers.render('REQUEST_TOO_LARGE', context)).toMatchObject({ status: 413, body: '"4xx"' });
    expect(answers.render('AUTHORIZER_FAILURE', context)).toMatchObject({ status: 503, body: '"5xx"' });
  });
});
