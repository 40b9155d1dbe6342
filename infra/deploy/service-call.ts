import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';

/** A new API answers 403 or 404, or its name doesn't resolve, for some seconds. */
const ATTEMPTS = 20;

const errorSchema = v.object({ error: v.object({ message: v.string(), code: v.nullable(v.string()) }) });
const modelsSchema = v.object({ data: v.array(v.object({ id: v.string() })) });

/**
 * Lists the models of a deployed service: without a key, which must be refused in OpenAI's error shape, or with one.
 * @param baseUrl a client's `baseURL`, which ends in `/v1`
 * @returns a sentence about the response
 * @throws Error with the last response if the service doesn't respond as it should within about a minute
 */
export async function callService(
  baseUrl: string,
  {
    key,
    request,
    pauseMs,
  }: { readonly key: string | undefined; readonly request: typeof fetch; readonly pauseMs: number },
): Promise<string> {
  let last = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    if (attempt > 0) await sleep(pauseMs);
    try {
      const response = await request(`${baseUrl}/models`, {
        headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
        signal: AbortSignal.timeout(30_000),
      });
      const text = await response.text();
      last = `${response.status} ${text.slice(0, 300)}`;
      const sentence =
        key === undefined ? describeRefusal(response.status, text) : describeModels(response.status, text);
      if (sentence !== undefined) return sentence;
    } catch (thrown) {
      last = thrown instanceof Error ? `${thrown.message} ${thrown.cause ?? ''}`.trim() : String(thrown);
    }
  }
  throw new Error(`${baseUrl}/models does not respond as it should: ${last}`);
}

function describeRefusal(status: number, text: string): string | undefined {
  if (status !== 401 || !v.safeParse(errorSchema, parseJson(text)).success) return undefined;
  return 'It refuses a request without a key, as it should.';
}

function describeModels(status: number, text: string): string | undefined {
  const models = v.safeParse(modelsSchema, parseJson(text));
  if (status !== 200 || !models.success) return undefined;
  return `It accepts the key, and has the models ${models.output.data.map(({ id }) => id).join(', ')}.`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
