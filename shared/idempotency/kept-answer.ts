import * as v from 'valibot';
import { LambentError } from '../runtime/errors.ts';
import type { HttpAnswer } from '../runtime/http.ts';

/** An answer as it is kept: a stream as all of its frames. */
export type Kept =
  | Extract<HttpAnswer, { json: unknown }>
  | { readonly headers: HttpAnswer['headers']; readonly frames: readonly string[] };

const headersSchema = v.optional(v.record(v.string(), v.string()), {});
const keptSchema = v.union([
  v.object({ headers: headersSchema, frames: v.array(v.string()) }),
  v.object({ status: v.optional(v.number(), 200), headers: headersSchema, json: v.unknown() }),
]);

/**
 * A kept answer, given again. Whoever wonders can tell by its header.
 * @throws LambentError `record_unreadable` for what is none
 */
export function replayed(kept: unknown): HttpAnswer {
  const result = v.safeParse(keptSchema, kept);
  if (!result.success) throw new LambentError('record_unreadable', 'An idempotent answer is not one');
  const answer = result.output;
  const headers = { ...answer.headers, 'idempotent-replayed': 'true' };
  if (!('frames' in answer)) return { status: answer.status, headers, json: answer.json };
  return { headers, frames: again(answer.frames) };
}

async function* again(frames: readonly string[]): AsyncGenerator<string, true> {
  yield* frames;
  return true;
}
