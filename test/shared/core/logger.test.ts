import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createLogger, describeError } from '../../../shared/core/logger.ts';

const FRAME = '\n    at CANARY (file:///var/task/CANARY.mjs:3:1)';

/** Returns the error that parsing `json` throws. */
function catchParseError(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (thrown) {
    return thrown;
  }
}

describe('a request logger', () => {
  function recordLogger(level: 'info' | 'warn' = 'info') {
    const lines: Record<string, unknown>[] = [];
    const write = (line: string) => lines.push(JSON.parse(line));
    return { lines, logger: createLogger({ level, fields: { function: 'chat' }, write }) };
  }

  it('a request logger adds its annotations to its own later lines only', () => {
    const { lines, logger } = recordLogger();
    const first = logger.forRequest({ requestId: '1' });
    const second = logger.forRequest({ requestId: '2' });
    first.info('before');
    first.annotate({ tenant: 'acme' });
    first.info('after', { status: 200 });
    second.info('other');
    logger.info('process');
    const common = { time: expect.any(String), level: 'info', function: 'chat' };
    expect(lines).toEqual([
      { ...common, message: 'before', requestId: '1' },
      { ...common, message: 'after', requestId: '1', tenant: 'acme', status: 200 },
      { ...common, message: 'other', requestId: '2' },
      { ...common, message: 'process' },
    ]);
  });

  it('a request logger writes its summary at every level, but no other line below the level', () => {
    const { lines, logger } = recordLogger('warn');
    const request = logger.forRequest({ requestId: '1' });
    request.info('hidden');
    request.summarize('request', { status: 200 }, { _aws: { Timestamp: 0, CloudWatchMetrics: [] } });
    expect(lines).toMatchObject([{ level: 'info', message: 'request', requestId: '1', status: 200 }]);
  });
});

describe('the log fields of an error', () => {
  it('the log fields of an error contain the location where the error was created', () => {
    expect(describeError(new LambentError('internal', 'x')).at).toMatch(/logger\.test\.ts:\d+:\d+/);
    expect(describeError(new Error()).at).toMatch(/logger\.test\.ts:\d+:\d+/);
    expect(describeError(new LambentError('internal', 'Error')).at).toMatch(/logger\.test\.ts:\d+:\d+/);
  });

  it.each([
    ['after a frame without a location', 'fn (file:///var/task/chat.mjs:1:2)', 'JSON.parse (<anonymous>)'],
    ['in an asynchronous function', 'async run (/var/task/chat.ts:10:20)', 'async Promise.all (index 0)'],
    ['at the top level of a module', 'async file:///var/task/chat.mjs:1:2', 'new Promise (<anonymous>)'],
    ['in Node itself', 'Socket.emit [as x] (node:events:5:6)', 'y (<anonymous>)'],
  ])('the log fields of an error contain a location %s', (_, location, before) => {
    const error = Object.assign(new Error('no'), { stack: `Error: no\n    at ${before}\n    at ${location}` });
    expect(describeError(error).at).toBe(location);
  });

  it.each([
    ['a parameter', new LambentError('unknown_parameter', `Unknown parameter: 'a${FRAME}'.`)],
    ['an upstream', new Error(`Input should be a string, input: 'why?${FRAME}\n'`)],
    ['a parser', catchParseError(`{"a": ${FRAME}}`)],
    ['an error with no other text', new Error(FRAME)],
  ])('the log fields of an error never contain text that looks like a location in the message of %s', (_, error) => {
    expect(describeError(error).at).toMatch(/logger\.test\.ts/);
    expect(JSON.stringify(describeError(error))).not.toContain('CANARY');
  });

  it('the log fields of an error contain no location if the stack does not begin with the message', () => {
    const { stack } = new Error(`before${FRAME}`);
    for (const message of ['after', 'bef', 'Error'])
      expect(describeError(Object.assign(new Error(message), { stack })).at).toBeUndefined();
    expect(describeError(Object.assign(new Error('x'), { stack: undefined })).at).toBeUndefined();
  });

  it('the log fields of an error contain no stack line that only begins like a frame', () => {
    const error = Object.assign(new Error('x'), { stack: 'Error: x\n    at CANARY, said (the caller)' });
    expect(describeError(error).at).toBeUndefined();
  });

  it('the log fields of an error contain the message of a configuration error', () => {
    const configurationError = new LambentError('configuration', 'env:NO_KEY is missing or empty');
    const wrapper = new LambentError('upstream_misconfigured', 'CANARY', { cause: configurationError });
    expect(describeError(configurationError).reason).toBe('env:NO_KEY is missing or empty');
    expect(describeError(wrapper)).toMatchObject({ causeCode: 'configuration', reason: configurationError.message });
    expect(JSON.stringify(describeError(wrapper))).not.toContain('CANARY');
  });

  it.each([
    ['a LambentError with another code', new LambentError('upstream_rejected', 'CANARY')],
    ['an error of another class', Object.assign(new Error('CANARY'), { code: 'configuration' })],
    ['the cause', new LambentError('configuration', 'x', { cause: new Error('CANARY') })],
  ])('the log fields of an error never contain the message of %s', (_, error) => {
    expect(JSON.stringify(describeError(error))).not.toContain('CANARY');
  });
});
