import * as v from 'valibot';

export interface EngineResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An HTTP client for one worker's engine. */
export interface EngineClient {
  /**
   * Sends a GET request.
   * @param path relative to the API's base if it starts with `v1/`, otherwise to the engine's root: `v1/models`,
   * `metrics`
   * @param timeoutMs milliseconds until the whole response must have arrived
   * @throws TypeError if the connection fails or the response is a redirect; `TimeoutError`; RangeError for a response
   * over 4 MiB
   */
  get(path: string, timeoutMs: number): Promise<EngineResponse>;
  /** Sends a POST request with a JSON body. Otherwise like `get`. */
  post(path: string, body: object, timeoutMs: number): Promise<EngineResponse>;
}

/** Far above the metrics of a busy vLLM, which have several hundred kilobytes. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Creates a client that sends requests to the worker's registered address only. It refuses redirects.
 * @param url the API's base: `http://10.0.3.7:8000/v1`
 */
export function createEngineClient(url: string, apiKey: string | undefined): EngineClient {
  const base = url.replace(/\/+$/, '');
  const root = base.replace(/\/v\d+$/, '');
  const resolve = (path: string): string => (path.startsWith('v1/') ? `${base}/${path.slice(3)}` : `${root}/${path}`);
  const send = async (path: string, timeoutMs: number, init: RequestInit): Promise<EngineResponse> => {
    const response = await fetch(resolve(path), {
      ...init,
      headers: { ...init.headers, ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) },
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, headers: response.headers, text: await readText(response) };
  };
  return {
    get: (path, timeoutMs) => send(path, timeoutMs, {}),
    post: (path, body, timeoutMs) =>
      send(path, timeoutMs, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
  };
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BYTES) throw new RangeError('The engine sent a response that is too large');
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Parses JSON text by a schema. Returns undefined if it is not JSON or does not match. */
export function parseJson<const S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  return result.success ? result.output : undefined;
}
