import * as v from 'valibot';
import type { HttpRequest } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';

/** An answer as it is kept: a stream as all of its frames. */
export type Kept = Omit<Extract<HttpResponse, { json: unknown }>, 'stored'> | KeptStream;
interface KeptStream {
  readonly headers: HttpResponse['headers'];
  readonly frames: readonly string[];
}

/**
 * How an answer is repeated that shows what lies elsewhere, and may be changed or deleted there: from that, by its ids. There
 * is no copy of it.
 */
export interface Reference {
  /** The ids of what an answer shows: all that is kept of it. */
  readonly idsOf: (json: unknown) => readonly string[];
  /** Shows it as it is now. Throws LambentError `not_found` for what isn't there any more. */
  readonly show: (request: HttpRequest, ids: readonly string[]) => Promise<unknown>;
}

const referredSchema = v.object({ json: v.array(v.string()) });

const headersSchema = v.optional(v.record(v.string(), v.string()), {});
const keptSchema = v.union([
  v.object({ headers: headersSchema, frames: v.array(v.string()) }),
  v.object({ status: v.optional(v.number(), 200), headers: headersSchema, json: v.unknown() }),
]);

const REPLAYED = { 'idempotent-replayed': 'true' };

/**
 * A kept answer, given again. Whoever wonders can tell by its header.
 * @throws LambentError `record_unreadable` for what is none
 */
export function replayed(kept: unknown): HttpResponse {
  const result = v.safeParse(keptSchema, kept);
  if (!result.success) throw new LambentError('record_unreadable', 'An idempotent answer is not one');
  const answer = result.output;
  const headers = { ...answer.headers, ...REPLAYED };
  if (!('frames' in answer)) return { status: answer.status, headers, json: answer.json };
  return { headers, frames: again(answer.frames) };
}

/**
 * What a kept reference shows, as a repeated answer.
 * @throws LambentError `record_unreadable` for what is no reference, and what `show` throws
 */
export async function shownAgain(kept: unknown, request: HttpRequest, { show }: Reference): Promise<HttpResponse> {
  const result = v.safeParse(referredSchema, kept);
  if (!result.success) throw new LambentError('record_unreadable', 'A kept reference is not one');
  return { headers: REPLAYED, json: await show(request, result.output.json) };
}

async function* again(frames: readonly string[]): AsyncGenerator<string, true> {
  yield* frames;
  return true;
}
