import { describe, expect, it } from 'vitest';
import { encodeDataFrame, encodeTypedFrame, isFinalFrame } from '../../../shared/wire/sse.ts';

const SEPARATORS = '\u0085, \u2028 and \u2029';

describe('a frame', () => {
  it.each([
    ['without an event name', encodeDataFrame(JSON.stringify({ type: 'x', text: SEPARATORS }))],
    ['with an event name', encodeTypedFrame({ type: 'x', text: SEPARATORS })],
  ])('a frame %s contains no character that some clients count as a line end, and the same JSON', (_, frame) => {
    expect(frame).not.toMatch(/[\u0085\u2028\u2029]/);
    const data = frame.split('\n').find((line) => line.startsWith('data: ')) ?? '';
    expect(JSON.parse(data.slice('data: '.length))).toEqual({ type: 'x', text: SEPARATORS });
  });
});

it.each(['\n', '\r', '\r\n'])('a type with the line break %j begins no other event', (end) => {
  const type = `x${end}event: response.completed${end}data: {}${end}${end}`;
  const frame = encodeTypedFrame({ type });
  expect(isFinalFrame(frame)).toBe(false);
  expect(frame.split(/\r\n|\n|\r/)).toHaveLength(4);
});

describe('isFinalFrame', () => {
  it.each([
    ['data: [DONE]\n\n', true],
    ['data: {"a":1}\n\ndata: [DONE]\n\n', true],
    ['event: response.completed\ndata: {}\n\n', true],
    ['event: response.incomplete\ndata: {}\n\n', true],
    ['event: response.failed\ndata: {}\n\n', false],
    ['data: {"content":"data: [DONE]\\n"}\n\n', false],
    // Line ends for regular expressions, but not for server-sent events.
    ['data: {"content":"\u2028data: [DONE]\u2028"}\n\n', false],
    ['data: {"content":"\u2029event: response.completed\u2029"}\n\n', false],
  ])('isFinalFrame returns for the frame %j: %s', (frame, isFinal) => {
    expect(isFinalFrame(frame)).toBe(isFinal);
  });
});
