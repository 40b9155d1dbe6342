import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import * as v from 'valibot';

/** A parsed response, or why there is none. `status` is undefined if no response came. */
type JsonResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string; readonly status: number | undefined };

/**
 * Gets JSON from a server that may not exist. Never throws.
 * @param schema the expected form of the response
 */
export async function getJson<Schema extends v.GenericSchema>(
  url: string,
  schema: Schema,
  timeoutMs: number,
  headers: Readonly<Record<string, string>> = {},
): Promise<JsonResult<v.InferOutput<Schema>>> {
  let status: number | undefined;
  try {
    const response = await get(url, headers, AbortSignal.timeout(timeoutMs));
    status = response.statusCode;
    if (status === undefined || status >= 300) {
      response.resume();
      return { ok: false, problem: `it answered ${status}`, status };
    }
    const parsed = v.safeParse(schema, JSON.parse(await text(response)));
    if (parsed.success) return { ok: true, value: parsed.output };
    return { ok: false, problem: 'its answer is not a list of models', status };
  } catch (error) {
    return { ok: false, problem: describeProblem(error), status };
  }
}

/** Sends a GET request. It doesn't use `fetch`, because loading that adds 20 ms to the start. */
async function get(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { get: send } = await (url.startsWith('https:') ? import('node:https') : import('node:http'));
  return new Promise((resolve, reject) => {
    send(url, { headers, signal }, resolve).once('error', reject);
  });
}

function describeProblem(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return 'it did not answer in time';
  if (error instanceof SyntaxError) return 'its answer is not JSON';
  const code = 'code' in error ? String(error.code) : undefined;
  return code === 'ECONNREFUSED' ? 'nothing listens there' : `it can't be reached (${code ?? error.message})`;
}
