import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';

const strings = v.optional(v.nullable(v.record(v.string(), v.optional(v.string()))), null);

/** The part of an API Gateway proxy event (REST API, payload version 1) that is read. */
const proxyEventSchema = v.object({
  httpMethod: v.string(),
  /** The route as it was defined: `/v1/models/{id+}`. */
  resource: v.string(),
  path: v.string(),
  headers: strings,
  pathParameters: strings,
  queryStringParameters: strings,
  /** As they came, a name that comes more than once included. */
  multiValueQueryStringParameters: v.optional(v.nullable(v.record(v.string(), v.optional(v.array(v.string())))), null),
  body: v.optional(v.nullable(v.string()), null),
  isBase64Encoded: v.optional(v.boolean(), false),
  requestContext: v.object({
    requestId: v.string(),
    /** What the authorizer handed on. */
    authorizer: v.optional(v.unknown()),
  }),
});
export type ProxyEvent = v.InferOutput<typeof proxyEventSchema>;

/**
 * Reads an event as an API Gateway request.
 * @throws LambentError `invalid_value` for anything else, which only a direct invocation can bring
 */
export function parseProxyEvent(event: unknown): ProxyEvent {
  const result = v.safeParse(proxyEventSchema, event);
  if (result.success) return result.output;
  throw new LambentError('invalid_value', 'The event is not a request from API Gateway.');
}
