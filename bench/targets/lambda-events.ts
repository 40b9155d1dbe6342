import { toAuthorizerContext } from '../../shared/access/authorizer-context.ts';
import { KEY, PRINCIPAL } from './access-table.ts';

/** Returns the body of the request that every target serves. */
export function createChatBody(model: string, streamed: boolean): string {
  const messages = [
    { role: 'system', content: 'You are a helpful assistant. Answer briefly.' },
    { role: 'user', content: 'Why is the sky blue, and why are sunsets red?' },
  ];
  return JSON.stringify({ model, messages, stream: streamed });
}

/** An endpoint that generates text: its path after `/v1/`. */
export type Endpoint = 'chat/completions' | 'responses' | 'messages';

/** Returns a text that a complete answer of the endpoint contains and a part of one doesn't. */
export function getAnswerEnd(endpoint: Endpoint, streamed: boolean): string {
  return streamed ? STREAM_ENDS[endpoint] : 'token token';
}

const STREAM_ENDS: Readonly<Record<Endpoint, string>> = {
  'chat/completions': 'data: [DONE]',
  responses: '"type":"response.completed"',
  messages: '"type":"message_stop"',
};

/**
 * Returns the event of a REST API for a POST request, with the fields that the function reads.
 * @param policy the caller's policy as JSON; absent if nothing is restricted
 */
export function createProxyEvent(path: string, body: string, policy?: string): object {
  const authorizer = toAuthorizerContext({ ...PRINCIPAL, policy });
  const requestContext = { requestId: 'bench', stage: 'bench', authorizer };
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${KEY}` };
  const event = { httpMethod: 'POST', resource: path, path, headers, requestContext, body, isBase64Encoded: false };
  return { ...event, pathParameters: null, queryStringParameters: null };
}

/** Returns the event of `POST /v1/chat/completions` as JSON. */
export function createChatEvent(body: string): string {
  return JSON.stringify(createProxyEvent('/v1/chat/completions', body));
}

/** Returns the event of a REST API for its authorizer. */
export function createAuthorizerEvent(): string {
  const methodArn = 'arn:aws:execute-api:eu-west-1:000000000000:api/bench/POST/v1/chat/completions';
  return JSON.stringify({ type: 'REQUEST', methodArn, headers: { Authorization: `Bearer ${KEY}` } });
}
