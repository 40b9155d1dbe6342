import type { Principal, Scope } from '../access/principal.ts';

/** A request as a route sees it: parsed, authorized, and free of API Gateway. */
export interface HttpRequest {
  /** Also the answer's `x-request-id`. */
  readonly requestId: string;
  readonly pathParameters: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The parsed JSON body; undefined where the method has none. */
  readonly body: unknown;
  readonly principal: Principal;
  /** Aborts at the deadline. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds by which the answer must have ended. */
  readonly deadlineAt: number;
}

/** A JSON answer, or a stream of server-sent event frames whose first one is sent with status 200. */
export type HttpAnswer =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly json: unknown }
  | { readonly headers?: Readonly<Record<string, string>>; readonly frames: AsyncIterable<string> };

export interface Route {
  /** The scope a key needs for it. */
  readonly scope: Scope;
  run(request: HttpRequest): Promise<HttpAnswer>;
}
