import { once } from 'node:events';
import { createServer } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LambentError } from '../../../../../shared/core/errors.ts';
import { createOpenAICompatibleModel } from '../../../../../shared/inference/providers/openai-compatible/openai-compatible.ts';
import {
  parseDuration,
  parseRetryAfter,
} from '../../../../../shared/inference/providers/openai-compatible/retry-after.ts';
import { encodeErrorBody } from '../../../../../shared/openai/errors.ts';
import { startUpstream, type Upstream } from '../../../../upstreams/openai-upstream.ts';
import type { Reply } from '../../../../upstreams/reply.ts';
import { makeRequest } from '../../requests.ts';
import { call, collectOutcome, expectUpstreamError, KEY, makeTarget } from './calls.ts';

let upstream: Upstream;
let reply: Reply;

beforeAll(async () => {
  upstream = await startUpstream(() => reply);
});
afterAll(() => upstream.close());

async function mapError(answer: Reply, request = {}) {
  reply = answer;
  return expectUpstreamError(await call(upstream.baseUrl, { request }));
}

const openAIError = (message: string, rest: object = {}) => ({
  error: { message, type: 'invalid_request_error', param: null, code: null, ...rest },
});

it('an error shows the first characters of a long message of the upstream', async () => {
  for (const character of ['\n', '9', '😀']) {
    const message = `Too long: ${character.repeat(10_000)}`;
    const error = await mapError({ status: 400, body: openAIError(message, { code: 'c'.repeat(5_000) }) });
    expect(error.message).toContain(message.slice(0, 900));
    expect(error.message.length).toBeLessThan(1_100);
    expect(error.message.isWellFormed()).toBe(true);
    expect(error.upstream?.length).toBeLessThan(4_200);
  }
});

describe('a status', () => {
  it.each([
    [400, 'upstream_rejected', 'fail'],
    [401, 'upstream_misconfigured', 'nextTarget'],
    [402, 'insufficient_quota', 'nextTarget'],
    [403, 'upstream_misconfigured', 'nextTarget'],
    [404, 'upstream_misconfigured', 'nextTarget'],
    [405, 'upstream_misconfigured', 'nextTarget'],
    [408, 'upstream_timeout', 'retry'],
    [409, 'upstream_unavailable', 'retry'],
    [413, 'request_too_large', 'fail'],
    [422, 'upstream_rejected', 'fail'],
    [425, 'upstream_unavailable', 'retry'],
    [429, 'rate_limit_exceeded', 'retry'],
    [500, 'upstream_unavailable', 'retry'],
    [502, 'upstream_unavailable', 'retry'],
    [503, 'upstream_unavailable', 'retry'],
    [504, 'upstream_timeout', 'retry'],
    [529, 'upstream_unavailable', 'retry'],
  ])('the status %i becomes %s with recovery %s', async (status, code, recovery) => {
    const error = await mapError({ status, body: openAIError('No further details') });
    expect(error).toMatchObject({ code, recovery, upstream: `${status} invalid_request_error` });
  });

  it.each([301, 302, 307, 308])('the redirect status %i becomes upstream_misconfigured', async (status) => {
    const seen = upstream.requests.length;
    const error = await mapError({ status, headers: { location: `${upstream.baseUrl}/elsewhere` }, body: '' });
    expect(error).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget' });
    expect(upstream.requests.length).toBe(seen + 1);
  });

  it.each([400, 404, 502])(
    'the status %i with a page instead of an error object is not blamed on the caller',
    async (status) => {
      const error = await mapError({ status, headers: { 'content-type': 'text/html' }, body: '<h1>nginx</h1>' });
      expect(error.recovery).not.toBe('fail');
      expect(error.message).not.toContain('nginx');
    },
  );

  it('the status is used even if the body is truncated', async () => {
    const error = await mapError({ status: 429, headers: { 'retry-after': '3' }, steps: [{ send: '{"err' }, 'cut'] });
    expect(error).toMatchObject({ code: 'rate_limit_exceeded', retryAfterMs: 3_000 });
  });
});

describe('the message of an error', () => {
  it.each([
    ['OpenAI', 400, openAIError('too many', { code: 'context_length_exceeded', param: 'messages' })],
    [
      'vLLM',
      400,
      {
        object: 'error',
        message: "This model's maximum context length is 4096 tokens. However, you requested 5000.",
        type: 'BadRequestError',
        code: 400,
      },
    ],
    [
      'llama.cpp',
      400,
      {
        error: {
          code: 400,
          message: 'the request exceeds the available context size',
          type: 'exceed_context_size_error',
        },
      },
    ],
    [
      'Gemini',
      400,
      [
        {
          error: {
            code: 400,
            message: 'The input token count (2000000) exceeds the maximum number of tokens allowed',
            status: 'INVALID_ARGUMENT',
          },
        },
      ],
    ],
    ['a proxy of Anthropic’s', 400, openAIError('prompt is too long: 210000 tokens > 200000 maximum')],
    [
      'Groq',
      400,
      openAIError('Please reduce the length of the messages or completion.', { code: 'context_length_exceeded' }),
    ],
    ['a strict server', 413, openAIError('maximum context length is 8192')],
  ])('an error of %s about the context length becomes context_length_exceeded', async (_, status, body) => {
    expect(await mapError({ status, body })).toMatchObject({ code: 'context_length_exceeded', recovery: 'fail' });
  });

  it.each([
    ['OpenAI', 400, openAIError('flagged', { code: 'content_policy_violation' })],
    [
      'Azure',
      400,
      {
        error: {
          message: 'The response was filtered',
          code: 'content_filter',
          param: 'prompt',
          innererror: { code: 'ResponsibleAIPolicyViolation' },
        },
      },
    ],
    [
      'DeepSeek',
      400,
      { error: { message: 'Content Exists Risk', type: 'invalid_request_error', code: 'invalid_request_error' } },
    ],
    [
      'Alibaba',
      400,
      { error: { code: 'data_inspection_failed', message: 'Input data may contain inappropriate content.' } },
    ],
    [
      'OpenRouter',
      403,
      { error: { code: 403, message: 'Your input was flagged by moderation', metadata: { reasons: ['x'] } } },
    ],
  ])('an error of %s about the content becomes content_filter', async (_, status, body) => {
    expect(await mapError({ status, body })).toMatchObject({ code: 'content_filter', recovery: 'fail' });
  });

  it.each([
    [
      'OpenAI',
      429,
      openAIError('You exceeded your current quota', { type: 'insufficient_quota', code: 'insufficient_quota' }),
    ],
    ['Moonshot', 429, { error: { message: 'Your account is suspended', type: 'exceeded_current_quota_error' } }],
    [
      'DeepSeek',
      402,
      { error: { message: 'Insufficient Balance', type: 'unknown_error', code: 'invalid_request_error' } },
    ],
    ['Alibaba', 400, { error: { code: 'Arrearage', message: 'Access denied' } }],
  ])('an error of %s about billing becomes insufficient_quota, not rate_limit_exceeded', async (_, status, body) => {
    expect(await mapError({ status, body })).toMatchObject({ code: 'insufficient_quota', recovery: 'nextTarget' });
  });

  it.each([
    [
      'Gemini’s key',
      400,
      [
        {
          error: { code: 400, message: 'API key not valid. Please pass a valid API key.', status: 'INVALID_ARGUMENT' },
        },
      ],
    ],
    ['xAI’s key', 400, { code: 'Client specified an invalid argument', error: 'Incorrect API key provided: xa***' }],
    ['DeepSeek’s model', 400, { error: { message: 'Model Not Exist', type: 'invalid_request_error' } }],
    [
      'SiliconFlow’s model',
      400,
      { code: 20012, message: 'Model does not exist. Please check it carefully.', data: null },
    ],
    ['OpenRouter’s model', 400, { error: { code: 400, message: 'foo/bar is not a valid model ID' } }],
    ['Ollama’s model', 404, { error: { message: 'model "x" not found, try pulling it first', type: 'api_error' } }],
  ])('an error about %s becomes upstream_misconfigured', async (_, status, body) => {
    expect(await mapError({ status, body })).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget' });
  });

  it.each([
    ['a key', 'invalid api key', "Invalid schema for function 'x': 'invalid api key' is not valid"],
    ['a key, in capitals', 'API key not valid', "messages.0.content: unexpected 'API key not valid'"],
    ['a model', 'model x does not exist', "Invalid 'tool_choice': 'model x does not exist'"],
    ['a model, in part', 'x not found', "Input is no object [type=model_type, input_value='x not found']"],
    ['a model, in part of a line', 'a\nx not found', "[type=model_type, input_value='a\nx not found']"],
    ['an id', 'not a valid model', "Invalid enum: 'not a valid model'"],
  ])('an error about %s that quotes the request becomes upstream_rejected', async (_, words, message) => {
    for (const request of [
      { messages: [{ role: 'user', content: [{ type: 'text', text: `Why "${words}"?` }] }] },
      { tools: [{ name: 'x', parameters: { type: words }, strict: false }] },
      { unknown: { [words]: true } },
    ]) {
      expect(await mapError({ status: 400, body: openAIError(message) }, request)).toMatchObject({
        code: 'upstream_rejected',
        recovery: 'fail',
      });
    }
    const inBand = { status: 200, body: openAIError(message, { code: 400 }) };
    const rejected = { code: 'upstream_rejected', recovery: 'fail' };
    expect(await mapError(inBand, { unknown: { words } })).toMatchObject(rejected);
  });

  it.each([
    ['API key not valid. Please pass a valid API key.', 'The API key is not in the file'],
    ['Incorrect API key provided: xa***', 'My API key: is it incorrect?'],
    ['Model does not exist. Please check it carefully.', 'The file does not exist'],
    ['foo/bar is not a valid model ID', 'This is not a valid modem'],
  ])(
    'the message "%s" becomes upstream_misconfigured if the request contains only similar words',
    async (message, text) => {
      const request = { messages: [{ role: 'user', content: [{ type: 'text', text }] }] };
      expect((await mapError({ status: 400, body: openAIError(message) }, request)).code).toBe(
        'upstream_misconfigured',
      );
    },
  );

  it('a very long error message is classified without delay', async () => {
    // A regular expression that backtracks would take minutes.
    for (const part of ['x', 'model ', 'not found', 'model_does not exist ', 'modelx'])
      await mapError({ status: 400, body: openAIError(part.repeat(64_000 / part.length)) });
  });

  it('Groq’s error about the request size per minute is tried at the next target', async () => {
    const body = openAIError('Request too large for model on tokens per minute (TPM)', {
      type: 'tokens',
      code: 'rate_limit_exceeded',
    });
    expect(await mapError({ status: 413, body })).toMatchObject({
      code: 'rate_limit_exceeded',
      recovery: 'nextTarget',
    });
  });
});

describe('the mapped error', () => {
  it('a rejection has the upstream’s message and the caller’s parameter', async () => {
    const body = openAIError("Invalid 'max_tokens'", { param: 'max_tokens' });
    const request = { parameterNames: { maxOutputTokens: 'max_output_tokens' } };
    expect(await mapError({ status: 400, body }, request)).toMatchObject({
      message: "Invalid 'max_tokens'",
      param: 'max_output_tokens',
    });
  });

  it('the parameter of an error keeps its path only if the caller’s name is the same', async () => {
    const body = openAIError('Bad', { param: 'messages.[2].content' });
    expect(await mapError({ status: 400, body })).toMatchObject({ param: 'messages.[2].content' });
    expect(await mapError({ status: 400, body }, { parameterNames: { messages: 'input' } })).toMatchObject({
      param: 'input',
    });
  });

  it('a FastAPI validation error contains the location and the message, not the input', async () => {
    const body = {
      detail: [{ type: 'x', loc: ['body', 'temperature'], msg: 'Input should be less than 2', input: 'CANARY' }],
    };
    const error = await mapError({ status: 422, body });
    expect(error.message).toBe('temperature: Input should be less than 2');
    expect(error.param).toBe('temperature');
  });

  it('the length of an error’s message is limited', async () => {
    const error = await mapError({ status: 400, body: openAIError('x'.repeat(50_000)) });
    expect(error.message.length).toBeLessThan(2_000);
  });

  it.each([500, 503, 429, 404, 401])('the public error of a %i contains no text of the upstream', async (status) => {
    const error = await mapError({ status, body: openAIError('stack trace of host 10.1.2.3') });
    expect(JSON.stringify(encodeErrorBody(error))).not.toContain('10.1.2.3');
  });

  it.each([400, 401, 403, 429, 500])('the error of a %i never contains the API key', async (status) => {
    const body = openAIError(`Incorrect value ${KEY} given`, { code: KEY, param: 'x' });
    const error = await mapError({ status, body });
    expect(`${error.message} ${error.stack} ${error.upstream} ${JSON.stringify(error)}`).not.toContain(KEY);
  });
});

describe('the retry time', () => {
  const now = Date.parse('2026-11-21T10:00:00Z');
  const date = 'Sat, 21 Nov 2026 10:00:00 GMT';

  it.each([
    [{ 'retry-after-ms': '250' }, 250],
    [{ 'retry-after-ms': '1500.5', 'retry-after': '9' }, 1_501],
    [{ 'retry-after': '2' }, 2_000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': '0.35' }, 350],
    [{ 'retry-after': ' 7 ' }, 7_000],
    [{ 'retry-after': '1m30s' }, 90_000],
    [{ 'retry-after': 'Sat, 21 Nov 2026 10:00:05 GMT' }, 5_000],
    [{ 'retry-after': 'Saturday, 21-Nov-26 10:00:05 GMT' }, 5_000],
    [{ 'retry-after': 'Sat, 21 Nov 2026 09:00:00 GMT' }, 0],
    [{ 'x-ratelimit-reset-requests': '1s' }, 1_000],
    [{ 'x-ratelimit-reset-tokens': '6m0s' }, 360_000],
    [{ 'x-ratelimit-reset-requests': '20ms', 'x-ratelimit-reset-tokens': '7.66s' }, 20],
    [
      {
        ...{ 'x-ratelimit-reset-requests': '20ms', 'x-ratelimit-remaining-requests': '10' },
        ...{ 'x-ratelimit-reset-tokens': '7.66s', 'x-ratelimit-remaining-tokens': '0' },
      },
      7_660,
    ],
    [{ 'x-ratelimit-reset': String(Date.parse('2026-11-21T10:00:03Z')) }, 3_000],
    [{ 'x-ratelimit-reset': String(Date.parse('2026-11-21T10:00:03Z') / 1000) }, 3_000],
    [{ 'x-ratelimit-reset': '12' }, 12_000],
    [{ 'x-ratelimit-reset-requests': '2026-11-21T10:00:04Z' }, 4_000],
    [{ 'retry-after': '999999999' }, 86_400_000],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-5' }, undefined],
    [{}, undefined],
  ])('the retry time is read from %j', async (headers, expected) => {
    expect(parseRetryAfter(429, { date, ...headers }, now)).toBe(expected);
    const error = await mapError({ status: 429, headers: { date, ...headers }, body: openAIError('slow down') });
    expect(error.retryAfterMs).toBe(expected);
  });

  it('a retry date is relative to the upstream’s clock', () => {
    const headers = { date: 'Sat, 21 Nov 2026 08:00:00 GMT', 'retry-after': 'Sat, 21 Nov 2026 08:00:05 GMT' };
    expect(parseRetryAfter(503, headers, now)).toBe(5_000);
  });

  it('the rate limit headers of a response that is not a 429 are ignored', () => {
    expect(parseRetryAfter(500, { 'x-ratelimit-reset-tokens': '6m0s' }, now)).toBeUndefined();
  });

  it.each([
    [openAIError('Rate limit reached. Please try again in 1.2s. Visit …'), 1_200],
    [openAIError('Please try again in 20ms.'), 20],
    [
      [
        {
          error: {
            code: 429,
            message: 'Quota',
            status: 'RESOURCE_EXHAUSTED',
            details: [{ '@type': 'a' }, { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '34s' }],
          },
        },
      ],
      34_000,
    ],
  ])('the retry time is read from the body %j if no header contains it', async (body, expected) => {
    expect(await mapError({ status: 429, body })).toMatchObject({
      code: 'rate_limit_exceeded',
      retryAfterMs: expected,
    });
  });

  it('the retry time of any duration is the sum of its parts', () => {
    fc.assert(
      fc.property(fc.nat(99), fc.nat(59), fc.nat(59), fc.nat(999), (h, m, s, ms) => {
        expect(parseDuration(`${h}h${m}m${s}s${ms}ms`)).toBe(((h * 60 + m) * 60 + s) * 1_000 + ms);
      }),
    );
  });

  it('the retry time of any header is undefined or at most a day', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('retry-after', 'retry-after-ms', 'x-ratelimit-reset', 'date'), fc.string()),
        (headers) => {
          const wait = parseRetryAfter(429, headers, now);
          expect(wait === undefined || (wait >= 0 && wait <= 86_400_000)).toBe(true);
        },
      ),
    );
  });
});

describe('a connection', () => {
  it('a refused connection becomes upstream_unavailable with recovery retry', async () => {
    const gone = await startUpstream();
    await gone.close();
    expect(expectUpstreamError(await call(gone.baseUrl))).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'retry',
      upstream: 'ECONNREFUSED',
    });
  });

  it('a connection to an unknown host becomes upstream_unavailable', async () => {
    const error = expectUpstreamError(await call('http://no-such-host.invalid/v1'));
    expect(error).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
  });

  it('a TLS connection to a server without TLS becomes upstream_unavailable', async () => {
    const error = expectUpstreamError(await call(upstream.baseUrl.replace('http:', 'https:')));
    expect(error).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
  });

  it('a connection that is closed before the response becomes upstream_unavailable', async () => {
    await using cutting = await startUpstream(() => 'cut');
    expect(expectUpstreamError(await call(cutting.baseUrl))).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'retry',
      retryAfterMs: undefined,
    });
  });

  it('a connection to a server that doesn’t speak HTTP becomes upstream_malformed', async () => {
    const server = createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    expect(expectUpstreamError(await call(`http://127.0.0.1:${port}/v1`)).code).toBe('upstream_malformed');
    server.close();
  });
});

describe('a key', () => {
  const callWithSecret = (secret: () => Promise<string>) =>
    collectOutcome(
      createOpenAICompatibleModel(makeTarget(upstream.baseUrl), { maxOutputTokens: 10, secret }).generate(
        makeRequest(),
        {
          signal: new AbortController().signal,
          streamed: true,
        },
      ),
    );

  it('a missing key becomes upstream_misconfigured, and the next target is tried', async () => {
    const missing = new LambentError('configuration', 'env:KEY is missing or empty');
    const error = expectUpstreamError(await callWithSecret(() => Promise.reject(missing)));
    expect(error).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget', message: missing.message });
  });

  it('a transient failure to resolve a key becomes upstream_unavailable', async () => {
    const error = expectUpstreamError(
      await callWithSecret(() => Promise.reject(new LambentError('upstream_unavailable', 'ssm:k'))),
    );
    expect(error).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
  });

  it('a key that is not a valid header value becomes upstream_misconfigured, and is not in the error', async () => {
    const error = expectUpstreamError(await callWithSecret(async () => 'broken\nsecret'));
    expect(error).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget' });
    expect(`${error.message} ${error.cause}`).not.toContain('secret');
  });
});
