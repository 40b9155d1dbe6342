import type { MiddyfiedHandler } from '@middy/core';
import * as v from 'valibot';
import type { Principal } from '../access/principal.ts';
import { authorizePrincipals, type Route } from '../access/route.ts';
import type { Scope } from '../access/scopes.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { createHttpPipeline, type HttpPipelineOptions } from '../lambda/http-pipeline.ts';
import type { ApiFormat, LambdaResponse } from '../lambda/http-responder.ts';
import { KEEP_ALIVE_COMMENT } from '../lambda/keep-alive.ts';
import { encodeErrorBody } from '../openai/errors.ts';
import { errorHeadersFor, httpStatusFor } from '../wire/error-responses.ts';
import { encodeDataFrame } from '../wire/sse.ts';

/** Settings of every function that serves the API. */
export const httpApiSettings = {
  /** Origin from which browsers may call the API. */
  CORS_ORIGIN: v.optional(v.string()),
};

export interface HttpApi<Name extends string> {
  /** The function's part of the route table. */
  readonly table: Readonly<Record<Name, Scope>>;
  /** The code of each of its routes. */
  readonly routes: Readonly<Record<NoInfer<Name>, Route>>;
  readonly telemetry: ProcessTelemetry;
  /** Value of `access-control-allow-origin`. No CORS headers if undefined. */
  readonly corsOrigin: string | undefined;
  /** As in `HttpPipelineOptions`. */
  readonly loadFormat?: HttpPipelineOptions<Principal>['loadFormat'];
}

/** Returns the handler of a function that serves routes of the OpenAI API. */
export function createHttpApi<Name extends string>({
  table,
  ...api
}: HttpApi<Name>): MiddyfiedHandler<unknown, LambdaResponse | string> {
  return createHttpPipeline({ ...api, authorization: authorizePrincipals(table), format: OPENAI_FORMAT });
}

const OPENAI_FORMAT: ApiFormat = {
  errorResponse: (error) => ({
    status: httpStatusFor(error),
    headers: errorHeadersFor(error),
    json: encodeErrorBody(error),
  }),
  errorFrame: (error) => encodeDataFrame(JSON.stringify(encodeErrorBody(error))),
  keepAliveFrame: KEEP_ALIVE_COMMENT,
  responseHeaders: (elapsedMs) => ({ 'openai-processing-ms': String(Math.round(elapsedMs)) }),
  exposedHeaders: [
    ...['x-request-id', 'openai-processing-ms', 'retry-after', 'retry-after-ms', 'x-should-retry'],
    ...['x-lambent-ignored', 'x-lambent-strict', 'x-lambent-dropped-items'],
    ...['limit', 'remaining', 'reset'].flatMap((part) => [
      `x-ratelimit-${part}-requests`,
      `x-ratelimit-${part}-tokens`,
    ]),
  ].join(', '),
};
