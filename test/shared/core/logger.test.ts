import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { describeError } from '../../../shared/core/logger.ts';

const FRAME = '\n    at CANARY (file:///var/task/CANARY.mjs:3:1)';

/** What parsing this throws. */
function faultOf(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (thrown) {
    return thrown;
  }
}

describe('what a log says of an error', () => {
  it('is where it was made', () => {
    expect(describeError(new LambentError('internal', 'x')).at).toMatch(/logger\.test\.ts:\d+:\d+/);
    expect(describeError(new Error()).at).toMatch(/logger\.test\.ts:\d+:\d+/);
    expect(describeError(new LambentError('internal', 'Error')).at).toMatch(/logger\.test\.ts:\d+:\d+/);
  });

  it.each([
    ['after something that has no place', 'fn (file:///var/task/chat.mjs:1:2)', 'JSON.parse (<anonymous>)'],
    ['in an asynchronous function', 'async run (/var/task/chat.ts:10:20)', 'async Promise.all (index 0)'],
    ['at the top of a module', 'async file:///var/task/chat.mjs:1:2', 'new Promise (<anonymous>)'],
    ['in Node', 'Socket.emit [as x] (node:events:5:6)', 'y (<anonymous>)'],
  ])('is a place, %s', (_, place, before) => {
    const error = Object.assign(new Error('no'), { stack: `Error: no\n    at ${before}\n    at ${place}` });
    expect(describeError(error).at).toBe(place);
  });

  it.each([
    ['a parameter', new LambentError('unknown_parameter', `Unknown parameter: 'a${FRAME}'.`)],
    ['an upstream', new Error(`Input should be a string, input: 'why?${FRAME}\n'`)],
    ['a parser', faultOf(`{"a": ${FRAME}}`)],
    ['nothing but itself', new Error(FRAME)],
  ])('is never what looks like a place in the message of %s', (_, error) => {
    expect(describeError(error).at).toMatch(/logger\.test\.ts/);
    expect(JSON.stringify(describeError(error))).not.toContain('CANARY');
  });

  it('is no place where message and stack have parted', () => {
    const { stack } = new Error(`before${FRAME}`);
    for (const message of ['after', 'bef', 'Error'])
      expect(describeError(Object.assign(new Error(message), { stack })).at).toBeUndefined();
    expect(describeError(Object.assign(new Error('x'), { stack: undefined })).at).toBeUndefined();
  });

  it('is no line that only begins as a place does', () => {
    const error = Object.assign(new Error('x'), { stack: 'Error: x\n    at CANARY, said (the caller)' });
    expect(describeError(error).at).toBeUndefined();
  });

  it('is the reason, word for word, if that is a configuration of ours', () => {
    const fault = new LambentError('configuration', 'env:NO_KEY is missing or empty');
    const asked = new LambentError('upstream_misconfigured', 'CANARY', { cause: fault });
    expect(describeError(fault).reason).toBe('env:NO_KEY is missing or empty');
    expect(describeError(asked)).toMatchObject({ causeCode: 'configuration', reason: fault.message });
    expect(JSON.stringify(describeError(asked))).not.toContain('CANARY');
  });

  it.each([
    ['another code', new LambentError('upstream_rejected', 'CANARY')],
    ['somebody else', Object.assign(new Error('CANARY'), { code: 'configuration' })],
    ['whatever caused it', new LambentError('configuration', 'x', { cause: new Error('CANARY') })],
  ])('is never the message of %s', (_, error) => {
    expect(JSON.stringify(describeError(error))).not.toContain('CANARY');
  });
});
