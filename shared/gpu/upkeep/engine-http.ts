import * as v from 'valibot';

/** What an engine answered. */
export interface EngineResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Asks one worker's engine. */
export interface EngineClient {
  /**
   * @param path from the API's base when it starts with `v1/`, else from the engine's root: `v1/models`, `metrics`
   * @param timeoutMs milliseconds until the whole answer must be there
   * @throws TypeError when there is no connection or the answer is a redirect, a `TimeoutError`, or a RangeError for an
   * answer that is too large
   */
  get(path: string, timeoutMs: number): Promise<EngineResponse>;
  post(path: string, body: object, timeoutMs: number): Promise<EngineResponse>;
}

/** The metrics of a busy vLLM have some hundred kilobytes. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Calls go to the worker's own address and nowhere else: the registry says which, and redirects are refused.
 * @param url the API's base: `http://10.0.3.7:8000/v1`
 */
export function createEngineClient(url: string, apiKey: string | undefined): EngineClient {
  const base = url.replace(/\/+$/, '');
  const root = base.replace(/\/v\d+$/, '');
  const address = (path: string): string => (path.startsWith('v1/') ? `${base}/${path.slice(3)}` : `${root}/${path}`);
  const call = async (path: string, timeoutMs: number, init: RequestInit): Promise<EngineResponse> => {
    const response = await fetch(address(path), {
      ...init,
      headers: { ...init.headers, ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) },
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, headers: response.headers, text: await textOf(response) };
  };
  return {
    get: (path, timeoutMs) => call(path, timeoutMs, {}),
    post: (path, body, timeoutMs) =>
      call(path, timeoutMs, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
  };
}

async function textOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BYTES) throw new RangeError('The engine answers with too much');
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** What of a JSON text fits a schema; undefined when it is no JSON or doesn't fit. */
export function parseJson<const S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  return result.success ? result.output : undefined;
}
