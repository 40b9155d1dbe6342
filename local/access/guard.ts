import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { type CallerProblem, type CallerRules, findCallerProblem } from './callers.ts';
import type { SignatureVerifier } from './signature.ts';
import { createSignatureError, type ErrorResponse } from './signature-error.ts';

/** The requests that a server accepts. */
export interface GuardRules extends CallerRules {
  /** Checks each request's signature. Signatures are not checked when absent. */
  readonly verifier?: SignatureVerifier | undefined;
  /** Creates the response to a request from another site; a short JSON object when absent. */
  readonly refuse?: (problem: CallerProblem) => ErrorResponse;
}

const MESSAGES: Readonly<Record<CallerProblem, string>> = {
  host_not_allowed: 'The header Host must be 127.0.0.1, localhost or [::1].',
  origin_not_allowed: 'Web pages of other sites may not call this server.',
};

/** Returns the text of an error response to a request from another site. */
export function describeCallerProblem(problem: CallerProblem): string {
  return MESSAGES[problem];
}

/** Makes a server refuse requests before its own listener sees them. Call it once the server has its listener. */
export function guardServer(server: Server, rules: GuardRules): void {
  // The gateway has a listener of its own for requests with `Expect`, which forwards them to this event.
  const listeners = server.listeners('request');
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    for (const listener of listeners) Reflect.apply(listener, server, [request, response]);
  };
  server.removeAllListeners('request');
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const refusal = refuseCaller(request.headers, rules);
    if (refusal !== undefined) return refuse(request, response, refusal);
    const { verifier } = rules;
    if (verifier === undefined) return serve(request, response);
    readAhead(request, (body) => {
      const failure = refuseSignature(verifier, request, body);
      if (failure === undefined) serve(request, response);
      else refuse(request, response, failure);
    });
  });
}

/** Returns the response to a request from another site; undefined if it is accepted. */
export function refuseCaller(headers: IncomingMessage['headers'], rules: GuardRules): ErrorResponse | undefined {
  const problem = findCallerProblem(headers, rules);
  if (problem === undefined) return undefined;
  return rules.refuse?.(problem) ?? createRefusal(problem);
}

/** Returns the response to a request whose signature is not valid; undefined if it is accepted. */
export function refuseSignature(
  verifier: SignatureVerifier,
  { method = '', url = '/', headers }: Pick<IncomingMessage, 'method' | 'url' | 'headers'>,
  body: readonly Buffer[],
): ErrorResponse | undefined {
  const problem = verifier.findProblem({ method, url, headers }, body);
  return problem && createSignatureError(problem, verifier.service, headers);
}

function createRefusal(problem: CallerProblem): ErrorResponse {
  return {
    status: 403,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ message: describeCallerProblem(problem) }),
  };
}

function refuse(request: IncomingMessage, response: ServerResponse, { status, headers, body }: ErrorResponse): void {
  // Reads the rest of the body: the sender of a large one could not read the response otherwise.
  request.resume();
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
}

/**
 * Reads a request's whole body and then puts it back, so that the server's own listener can read it. The listener must
 * begin to read in `next`.
 */
function readAhead(request: IncomingMessage, next: (body: readonly Buffer[]) => void): void {
  const chunks: Buffer[] = [];
  function read(): void {
    for (let chunk: Buffer | null = request.read(); chunk !== null; chunk = request.read()) chunks.push(chunk);
    if (!request.complete) return;
    request.off('readable', read);
    for (const chunk of chunks.toReversed()) request.unshift(chunk);
    next(chunks);
  }
  request.on('readable', read);
}
