import * as v from 'valibot';

/** What came, or in words why nothing did; `status` is there when somebody answered. */
type Fetched<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string; readonly status: number | undefined };

/**
 * Gets JSON from whoever may, or may not, be listening at `url`. Never throws.
 * @param schema what the answer has to look like
 */
export async function getJson<Schema extends v.GenericSchema>(
  url: string,
  schema: Schema,
  timeoutMs: number,
  headers: Readonly<Record<string, string>> = {},
): Promise<Fetched<v.InferOutput<Schema>>> {
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(timeoutMs) });
    if (!response.ok) return { ok: false, problem: `it answered ${response.status}`, status: response.status };
    const parsed = v.safeParse(schema, await response.json());
    if (parsed.success) return { ok: true, value: parsed.output };
    return { ok: false, problem: 'it answered something else than a list of models', status: response.status };
  } catch (thrown) {
    return { ok: false, problem: explained(thrown), status: undefined };
  }
}

function explained(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.name === 'TimeoutError') return 'it did not answer in time';
  if (thrown instanceof SyntaxError) return 'it did not answer with JSON';
  const { cause } = thrown;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
  return code === 'ECONNREFUSED' ? 'nothing listens there' : `it can't be reached (${code ?? thrown.message})`;
}
