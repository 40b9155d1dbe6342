import { gzipSync } from 'node:zlib';
import { afterEach, expect, it } from 'vitest';
import { createModelFactory, getCapabilities } from '../../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { createRouter } from '../../shared/inference/router.ts';
import { makeRequest } from '../shared/inference/requests.ts';
import { startUpstream, type Upstream } from '../upstreams/openai-upstream.ts';
import type { Reply, Step } from '../upstreams/reply.ts';

const MEGABYTE = 1024 * 1024;
const STREAM = { 'content-type': 'text/event-stream' };
const MALFORMED = { code: 'upstream_malformed', length: 0 };
const toFrame = (delta: object) => `data: ${JSON.stringify({ choices: [{ index: 0, delta }] })}\n\n`;

let upstream: Upstream | undefined;
afterEach(() => upstream?.close());

/** Repeats a piece without end. Counts what was sent. */
function* repeat(piece: string, sent: { bytes: number }, first = ''): Generator<Step> {
  if (first !== '') yield { send: first };
  for (;;) {
    sent.bytes += piece.length;
    yield { send: piece };
  }
}

/** Reads an answer of an upstream that sends a reply. Returns the error's code, and how much came before it. */
async function read(reply: Reply, streamed: boolean, times: object = {}, passThrough: readonly string[] = []) {
  upstream = await startUpstream(() => reply);
  const target = { provider: 'openai-compatible', model: 'm', baseUrl: upstream.baseUrl, passThrough };
  const registry = parseModelRegistry(
    JSON.stringify({ models: { default: { targets: [target], maxRetryWaitMs: 0, ...times } } }),
    'models.json',
  );
  const createModel = createModelFactory({
    secret: async () => '',
    seal: { seal: async ({ continuation }) => continuation, open: async () => undefined },
  });
  const router = createRouter({ registry, createModel, getCapabilities });
  const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed };
  const original = { protocol: 'chat' as const, body: { messages: [] }, ignored: [] };
  const request = makeRequest({ model: 'default', ...(passThrough.length > 0 && { original }) });
  let length = 0;
  try {
    const { events } = await router.generate(request, call);
    for await (const event of events)
      length += event.type === 'text' ? event.text.length : event.type === 'finish' ? 0 : 1;
    return { code: 'none', length };
  } catch (thrown) {
    return { code: Object(thrown).code, length };
  }
}

it.each([true, false])('a line that never ends is cut off, streamed: %s', async (streamed) => {
  for (const first of [
    'data: {"choices":[{"index":0,"delta":{"content":"',
    '{"choices":[{"index":0,"delta":{"content":"',
  ]) {
    const sent = { bytes: 0 };
    const steps = repeat('a'.repeat(65_536), sent, first);
    expect([first, await read({ headers: STREAM, steps }, streamed)]).toEqual([first, MALFORMED]);
    // The limit of an event, and what the sockets have buffered.
    expect(sent.bytes).toBeLessThan(32 * MEGABYTE);
    await upstream?.close();
  }
});

it.each<[string, string, readonly string[]]>([
  ['text', toFrame({ content: 'a'.repeat(65_536) }), []],
  ['passed through text', toFrame({ content: 'a'.repeat(65_536) }), ['chat']],
  ['tool calls', toFrame({ tool_calls: [{ index: 0, function: { arguments: '1'.repeat(65_536) } }] }), []],
  ['chunks without content', toFrame({}).repeat(1_000), []],
  ['comments', `: ${'a'.repeat(65_536)}\n\n`, []],
  ['a comment without an end', 'a'.repeat(65_536), []],
])('a stream of %s without an end is cut off by its size', async (kind, piece, passThrough) => {
  const sent = { bytes: 0 };
  const call = { index: 0, id: 'call', type: 'function', function: { name: 'f', arguments: '' } };
  const first = kind === 'tool calls' ? toFrame({ tool_calls: [call] }) : kind.endsWith('an end') ? ': ' : '';
  const before = process.memoryUsage().heapUsed;
  const { code, length } = await read({ headers: STREAM, steps: repeat(piece, sent, first) }, true, {}, passThrough);
  expect(code).toBe(length === 0 ? 'upstream_malformed' : 'upstream_cut');
  expect(length > 0).toBe(/text|calls/.test(kind));
  expect(sent.bytes).toBeLessThan(96 * MEGABYTE);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(512 * MEGABYTE);
});

it.each([
  ['comments', ': ping\n\n'],
  ['chunks without content', toFrame({})],
  ['chunks without choices', 'data: {"choices":[]}\n\n'],
  ['line breaks', '\n'],
])('a stream of nothing but %s is cut off at its time limit', async (_, piece) => {
  function* drip(first = piece): Generator<Step> {
    yield { send: first };
    for (;;) {
      yield { waitMs: 20 };
      yield { send: piece };
    }
  }
  const reply = () => ({ headers: STREAM, steps: drip() });
  expect(await read(reply(), true, { firstTokenTimeoutMs: 500, timeoutMs: 60_000 })).toEqual({
    code: 'upstream_timeout',
    length: 0,
  });
  await upstream?.close();
  expect(await read(reply(), false, { firstTokenTimeoutMs: 500, timeoutMs: 1_000 })).toEqual({
    code: 'deadline_exceeded',
    length: 0,
  });
  await upstream?.close();
  // After a first token, the limit of the whole answer counts. A busy machine needs a moment until it has the token.
  const steps = drip(toFrame({ content: 'Hello' }));
  const longer = { firstTokenTimeoutMs: 4_000, timeoutMs: 4_500 };
  expect(await read({ headers: STREAM, steps }, true, longer)).toEqual({ code: 'deadline_exceeded', length: 5 });
});

it('a body that arrives byte by byte is cut off at the time limit', async () => {
  function* slow(): Generator<Step> {
    for (;;) {
      yield { send: ' ' };
      yield { waitMs: 100 };
    }
  }
  const times = { firstTokenTimeoutMs: 500, timeoutMs: 1_000 };
  const json = { headers: { 'content-type': 'application/json' }, steps: slow() };
  expect((await read(json, false, times)).code).toBe('deadline_exceeded');
});

it('a compressed body is decompressed only up to the limit', async () => {
  const compress = (text: string) => gzipSync(Buffer.concat([Buffer.from(text), Buffer.alloc(300 * MEGABYTE, 'a')]));
  const json = compress('{"choices":[{"message":{"content":"');
  expect(json.length).toBeLessThan(MEGABYTE);
  const before = process.memoryUsage().rss;
  const encoded = { 'content-encoding': 'gzip' };
  for (const [reply, code] of [
    [{ headers: { ...encoded, 'content-type': 'application/json' }, body: json }, 'upstream_malformed'],
    [{ headers: { ...encoded, ...STREAM }, body: compress('data: ') }, 'upstream_malformed'],
    // The status is enough for the error.
    [{ status: 400, headers: encoded, body: json }, 'upstream_misconfigured'],
  ] as const) {
    for (const streamed of [true, false]) {
      expect([streamed, (await read(reply, streamed)).code]).toEqual([streamed, code]);
      await upstream?.close();
    }
  }
  expect(process.memoryUsage().rss - before).toBeLessThan(600 * MEGABYTE);
});
