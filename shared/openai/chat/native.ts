import type { GenerationEvent } from '../../inference/generation.ts';
import { encodeDataFrame, encodeStream, type StreamEncoder } from '../../wire/sse.ts';
import { encodeErrorBody } from '../errors.ts';
import type { ChatStreamOptions } from './stream.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Encodes the chunks of an upstream that was passed the request as the frames of a stream: as they are, but for the id and
 * the model's name.
 * @throws the same errors as `encodeStream`
 */
export function encodeNativeChatStream(
  events: AsyncIterable<GenerationEvent>,
  { head: { id, model }, includeUsage }: ChatStreamOptions,
): AsyncGenerator<string> {
  const encodeChunk = ({ usage, ...chunk }: Fields): string => {
    const { choices } = chunk;
    // The upstream was asked for the usage, even if the caller didn't.
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
