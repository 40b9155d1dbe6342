import { toAuthorizerContext } from '../../shared/access/keys.ts';
import { KEY, PRINCIPAL } from './access-table.ts';

/** Returns the body of the request that every target serves. */
export function createChatBody(model: string, streamed: boolean): string {
  const messages = [
    { role: 'system', content: 'You are a helpful assistant. Answer briefly.' },
    { role: 'user', content: 'Why is the sky blue, and why are sunsets red?' },
  ];
  return JSON.stringify({ model, messages, stream: streamed });
}

/** Returns the event of a REST API for `POST /v1/chat/completions`, with the fields that the function reads. */
export function createChatEvent(body: string): string {
  const path = '/v1/chat/completions';
  const requestContext = { requestId: 'bench', stage: 'bench', authorizer: toAuthorizerContext(PRINCIPAL) };
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${KEY}` };
  const event = { httpMethod: 'POST', resource: path, path, headers, requestContext, body, isBase64Encoded: false };
  return JSON.stringify({ ...event, pathParameters: null, queryStringParameters: null });
}

/** Returns the event of a REST API for its authorizer. */
export function createAuthorizerEvent(): string {
  const methodArn = 'arn:aws:execute-api:eu-west-1:000000000000:api/bench/POST/v1/chat/completions';
  return JSON.stringify({ type: 'REQUEST', methodArn, headers: { Authorization: `Bearer ${KEY}` } });
}
