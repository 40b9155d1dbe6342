import type { GenerationEvent } from '../../inference/generation.ts';
import { encodeDataFrame, encodeStream, type StreamEncoder } from '../../wire/sse.ts';
import { encodeErrorBody } from '../errors.ts';
import type { ChatStreamOptions } from './stream.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Encodes the chunks of a native answer as the frames of a stream. Only their id and the model's name are replaced.
 * @throws the same errors as `encodeStream`
 */
export function encodeNativeChatStream(
  events: AsyncIterable<GenerationEvent>,
  { head: { id, model }, includeUsage }: ChatStreamOptions,
): AsyncGenerator<string> {
  const encodeChunk = ({ usage, ...chunk }: Fields): string => {
    const { choices } = chunk;
    // The request to the upstream always asks for the usage.
    if (!includeUsage && usage != null && Array.isArray(choices) && choices.length === 0) return '';
    const shown = includeUsage && usage !== undefined ? { usage } : {};
    return encodeDataFrame(JSON.stringify({ ...chunk, id, model, ...shown }));
  };
  const encoder: StreamEncoder = {
    encode: (event) => (event.type === 'native' ? encodeChunk(event.event) : event.type === 'finish' ? LAST : ''),
    fail: (error) => encodeDataFrame(JSON.stringify(encodeErrorBody(error))),
  };
  return encodeStream(events, encoder);
}

const LAST = encodeDataFrame('[DONE]');
