import * as v from 'valibot';
import type { HttpRequest } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';

/** A response as it is stored for replays: JSON, or all frames of a stream. */
export type RecordedResponse =
  | Omit<Extract<HttpResponse, { json: unknown }>, 'stored'>
  | { readonly headers: HttpResponse['headers']; readonly frames: readonly string[] };

/**
 * Replays a response that shows objects stored elsewhere. Only the objects' ids are recorded, because the objects may be
 * changed or deleted there.
 */
export interface Reference {
  /** Returns the ids of the objects that a response shows. */
  readonly idsOf: (json: unknown) => readonly string[];
  /** Shows the objects in their current state. Throws LambentError `not_found` if one was deleted. */
  readonly show: (request: HttpRequest, ids: readonly string[]) => Promise<unknown>;
}

const referenceSchema = v.object({ json: v.array(v.string()) });

const headersSchema = v.optional(v.record(v.string(), v.string()), {});
const recordedSchema = v.union([
  v.object({ headers: headersSchema, frames: v.array(v.string()) }),
  v.object({ status: v.optional(v.number(), 200), headers: headersSchema, json: v.unknown() }),
]);

/** The header by which a caller recognizes a replay. */
export const REPLAYED = { 'idempotent-replayed': 'true' };

/**
 * Replays a recorded response, marked by its header.
 * @throws LambentError `record_unreadable` if `recorded` is not a recorded response
 */
export function replayResponse(recorded: unknown): HttpResponse {
  const result = v.safeParse(recordedSchema, recorded);
  if (!result.success) throw new LambentError('record_unreadable', 'A recorded response has an unknown format');
  const response = result.output;
  const headers = { ...response.headers, ...REPLAYED };
  if (!('frames' in response)) return { status: response.status, headers, json: response.json };
  return { headers, frames: yieldFrames(response.frames) };
}

/**
 * Replays a response of which only ids were recorded, marked by its header.
 * @throws LambentError `record_unreadable` if `recorded` contains no ids, and every error of `show`
 */
export async function replayReference(
  recorded: unknown,
  request: HttpRequest,
  { show }: Reference,
): Promise<HttpResponse> {
  const result = v.safeParse(referenceSchema, recorded);
  if (!result.success) throw new LambentError('record_unreadable', 'A recorded reference has an unknown format');
  return { headers: REPLAYED, json: await show(request, result.output.json) };
}

async function* yieldFrames(frames: readonly string[]): AsyncGenerator<string, true> {
  yield* frames;
  return true;
}
