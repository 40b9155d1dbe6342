import { encodeJson } from '../../../core/encode-json.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { rejectOnAbort, resolveAccess, toEndpoint } from './access.ts';
import { parseBody, readErrorBody, readText } from './body.ts';
import { findInBandError, parseErrorResponse, toUpstreamError } from './errors.ts';
import { createTransport } from './transport.ts';
import type { WireObject } from './wire.ts';

export interface JsonEndpointOptions {
  /** Resolves `env:…`, `ssm:…` and `secret:…`. Called for every request, so it should cache. */
  readonly secret: (reference: string) => Promise<string>;
  /** Milliseconds within which a connection must be made; absent for no limit. */
  readonly connectMs?: number;
}

/** Sends JSON to one path of an OpenAI-compatible API. */
export interface JsonEndpoint {
  /**
   * Returns the body of the answer.
   * @param answer the field of an answer that is no error
   * @throws UpstreamError for every failure; the abort reason if `signal` aborts
   */
  post(body: WireObject, answer: string, signal: AbortSignal): Promise<WireObject>;
}

/** Creates the endpoint of a target at a path such as `embeddings`. */
export function createJsonEndpoint(
  target: Pick<OpenAICompatibleTarget, 'baseUrl' | 'apiKey' | 'headers'>,
  path: string,
  { secret, connectMs }: JsonEndpointOptions,
): JsonEndpoint {
  const transport = createTransport(toEndpoint(target, path), connectMs);

  async function post(body: WireObject, answer: string, signal: AbortSignal): Promise<WireObject> {
    const { headers, redact } = await rejectOnAbort(resolveAccess(target, secret), signal);
    const json = encodeJson(body);
    const response = await transport.post({ ...headers, accept: 'application/json' }, json, signal);
    const context = {
      callerParam: (param: string) => param,
      isQuoted: (words: string) => json.includes(JSON.stringify(words).slice(1, -1)),
      redact,
    };
    try {
      if (response.status < 200 || response.status >= 300) {
        const text = await readErrorBody(response);
        throw toUpstreamError(parseErrorResponse(response.status, response.headers, text, Date.now()), context);
      }
      const parsed = parseBody((await readText(response)).replace(/^\uFEFF/, ''));
      const error = findInBandError(parsed);
      if (error !== undefined && !Array.isArray(parsed[answer])) throw toUpstreamError(error, context);
      return parsed;
    } finally {
      response.close();
    }
  }

  return {
    async post(body, answer, signal) {
      signal.throwIfAborted();
      return post(body, answer, signal).catch((thrown: unknown) => {
        signal.throwIfAborted();
        throw thrown;
      });
    },
  };
}
