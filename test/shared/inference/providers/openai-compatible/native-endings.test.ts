import { expect, it } from 'vitest';
import type { OriginalRequest } from '../../../../../shared/inference/generation.ts';
import { encodeNativeResponseStream } from '../../../../../shared/openai/responses/native.ts';
import { isFinalFrame } from '../../../../../shared/wire/sse.ts';
import { startUpstream } from '../../../../upstreams/openai-upstream.ts';
import { streamEvents } from '../../../../upstreams/reply.ts';
import { makeRequest } from '../../requests.ts';
import { makeModel, RESPONSE_OPTIONS } from './calls.ts';

const message = { type: 'message', id: 'msg_1', role: 'assistant', content: [{ type: 'output_text', text: 'Hi' }] };
const created = { type: 'response.created', response: { object: 'response', status: 'in_progress', output: [] } };
const done = (output_index: number) => ({ type: 'response.output_item.done', output_index, item: message });
const completed = (fields: object = {}) => ({
  type: 'response.completed',
  response: { object: 'response', status: 'completed', output: [message], ...fields },
});

/** Returns the frames that a caller gets for the events of an upstream. */
async function encode(sent: readonly object[]): Promise<string[]> {
  await using upstream = await startUpstream(() => streamEvents([...sent]));
  const model = makeModel(upstream.baseUrl, { passThrough: ['responses'] });
  const original: OriginalRequest = { protocol: 'responses', body: { input: 'Hi' }, ignored: [] };
  const call = { signal: new AbortController().signal, streamed: true };
  const events = model.generate(makeRequest({ original }), call);
  const frames: string[] = [];
  for await (const frame of encodeNativeResponseStream(events, RESPONSE_OPTIONS)) frames.push(frame);
  return frames;
}

it.each([
  ['has failed', completed({ status: 'failed' })],
  ['is still in progress', completed({ status: 'in_progress' })],
  ['has no status', completed({ status: undefined })],
  ['is missing', { type: 'response.completed' }],
])('a last event whose response %s is an error and no regular end', async (_, last) => {
  const frames = await encode([created, done(0), last]);
  expect(frames.filter(isFinalFrame)).toEqual([]);
  expect(frames.at(-1)).toContain('event: response.failed\n');
});

it('a first event whose response seems complete does not end the stream', async () => {
  const frames = await encode([{ ...completed(), type: 'response.created' }, done(0), completed()]);
  expect(frames.map((frame) => frame.split('\n')[0])).toEqual([
    'event: response.created',
    'event: response.output_item.done',
    'event: response.completed',
  ]);
});

it('an item may have any index', async () => {
  const frames = await encode([created, done(2 ** 32 - 2), { type: 'error', message: 'x' }]);
  expect(frames.at(-1)).toContain('event: response.failed\n');
  expect(frames.at(-1)).toContain('"output":[{"type":"message"');
});
