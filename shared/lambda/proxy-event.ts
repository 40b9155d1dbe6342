import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';

const strings = v.optional(v.nullable(v.record(v.string(), v.optional(v.string()))), null);
const lists = v.optional(v.nullable(v.record(v.string(), v.optional(v.array(v.string())))), null);

/** The fields of an API Gateway proxy event (REST API, payload version 1) that Lambent reads. */
const proxyEventSchema = v.object({
  httpMethod: v.string(),
  /** The route's path as defined: `/v1/models/{id+}`. */
  resource: v.string(),
  path: v.string(),
  headers: strings,
  /** All values of each header. */
  multiValueHeaders: lists,
  pathParameters: strings,
  queryStringParameters: strings,
  /** All values of each parameter. */
  multiValueQueryStringParameters: lists,
  body: v.optional(v.nullable(v.string()), null),
  isBase64Encoded: v.optional(v.boolean(), false),
  requestContext: v.object({
    requestId: v.string(),
    identity: v.optional(
      v.object({
        /** The address of the caller's connection to API Gateway, which no header can change. */
        sourceIp: v.optional(v.string()),
        /**
         * The certificate that the client has authenticated with, in PEM format. Present with mutual TLS only.
         * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/rest-api-mutual-tls.html
         */
        clientCert: v.nullish(v.object({ clientCertPem: v.optional(v.string()) })),
      }),
    ),
    /** The context that the Lambda authorizer returned. */
    authorizer: v.optional(v.unknown()),
  }),
});
export type ProxyEvent = v.InferOutput<typeof proxyEventSchema>;

/**
 * Parses an API Gateway event.
 * @throws LambentError `invalid_value` for any other event. Only a direct invocation can send one
 */
export function parseProxyEvent(event: unknown): ProxyEvent {
  const result = v.safeParse(proxyEventSchema, event);
  if (result.success) return result.output;
  throw new LambentError('invalid_value', 'The event is not a request from API Gateway.');
}
