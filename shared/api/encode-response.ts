import type { Generation } from '../inference/router.ts';
import { type EncodeResponseOptions, encodeResponse } from '../openai/responses/response.ts';
import { encodeResponseStream } from '../openai/responses/stream.ts';

/** Loads the code for native answers, which most deployments don't need. */
const loadNative = () => import('../openai/responses/native.ts');

/**
 * Encodes an answer as a response object.
 * @throws as `encodeResponse`
 */
export async function encodeResponseAnswer({ events, isNative }: Answer, options: EncodeResponseOptions) {
  if (isNative !== true) return encodeResponse(events, options);
  return (await loadNative()).encodeNativeResponse(events, options);
}

/**
 * Encodes an answer as the frames of a response stream.
 * @returns whether the response is complete
 * @throws as `encodeResponseStream`
 */
export async function* encodeResponseAnswerStream(
  { events, isNative }: Answer,
  options: EncodeResponseOptions,
): AsyncGenerator<string, boolean> {
  if (isNative !== true) return yield* encodeResponseStream(events, options);
  const { encodeNativeResponseStream } = await loadNative();
  return yield* encodeNativeResponseStream(events, options);
}

type Answer = Pick<Generation, 'events' | 'isNative'>;
