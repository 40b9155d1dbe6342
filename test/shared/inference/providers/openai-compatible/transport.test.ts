import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type Script, startUpstream, type Upstream } from '../../../../upstreams/openai-upstream.ts';
import {
  EVENT_STREAM,
  encodeEvent,
  type Reply,
  type Step,
  streamChunks,
  streamEvents,
} from '../../../../upstreams/reply.ts';
import { waitUntil } from '../../../../wait.ts';
import { collect, makeRequest } from '../../requests.ts';
import { call, collectOutcome, expectUpstreamError, makeModel, readRecording, summarize } from './calls.ts';

const textChunk = (content: string) => ({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
const COMPLETE: Reply = { headers: EVENT_STREAM, body: readRecording('openai-text') };
const neverAborted = new AbortController().signal;
const REASON = new Error('cancelled by the caller');

describe('an abort', () => {
  const moments: [string, Script, boolean][] = [
    ['while the upstream says nothing', () => new Promise(() => {}), true],
    ['before the first token', () => ({ headers: EVENT_STREAM, steps: ['stall'] }), true],
    ['in the middle of a stream', () => streamEvents([textChunk('a'), textChunk('b')], 'stall'), true],
    ['in the middle of an event', () => streamChunks(['data: {"choices":[{"delta"'], 'stall'), true],
    ['in the middle of a buffered body', () => ({ steps: [{ send: '{"choices":[' }, 'stall'] }), false],
    ['in the middle of an error', () => ({ status: 500, steps: [{ send: '{"error":' }, 'stall'] }), false],
    [
      'after the finish_reason, while usage is awaited',
      () => streamEvents([{ choices: [{ delta: {}, finish_reason: 'stop' }] }], 'stall'),
      true,
    ],
  ];

  it.each(moments)('an abort %s closes the connection, and the call throws its reason', async (_, script, streamed) => {
    await using upstream = await startUpstream(script);
    const controller = new AbortController();
    const outcome = call(upstream.baseUrl, { streamed, signal: controller.signal });
    await waitUntil('the upstream has the request', () => upstream.requests.length > 0);
    await sleep(20);
    controller.abort(REASON);
    expect((await outcome).error).toBe(REASON);
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('an abort reaches the upstream while the answer is not being read', async () => {
    await using upstream = await startUpstream(() => streamEvents([textChunk('a'), textChunk('b')], 'stall'));
    const controller = new AbortController();
    const answer = makeModel(upstream.baseUrl).generate(makeRequest(), { signal: controller.signal, streamed: true });
    const iterator = answer[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort(REASON);
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('an aborted signal sends no request', async () => {
    await using upstream = await startUpstream(() => COMPLETE);
    expect((await call(upstream.baseUrl, { signal: AbortSignal.abort(REASON) })).error).toBe(REASON);
    expect(upstream.requests).toHaveLength(0);
  });

  it('an abort by a timeout throws the timeout', async () => {
    await using upstream = await startUpstream(() => ({ headers: EVENT_STREAM, steps: ['stall'] }));
    const { error } = await call(upstream.baseUrl, { signal: AbortSignal.timeout(50) });
    expect(error).toMatchObject({ name: 'TimeoutError' });
  });

  it('an abort doesn’t affect the next call', async () => {
    await using upstream = await startUpstream((_, nth) =>
      nth === 0 ? streamEvents([textChunk('a')], 'stall') : COMPLETE,
    );
    const controller = new AbortController();
    const aborted = call(upstream.baseUrl, { signal: controller.signal });
    await waitUntil('the upstream has the request', () => upstream.requests.length > 0);
    controller.abort(REASON);
    expect((await aborted).error).toBe(REASON);
    expect((await call(upstream.baseUrl)).error).toBeUndefined();
  });
});

it('no request is sent before the first event is requested', async () => {
  await using upstream = await startUpstream(() => COMPLETE);
  const answer = makeModel(upstream.baseUrl).generate(makeRequest(), { signal: neverAborted, streamed: true });
  await sleep(50);
  expect(upstream.requests).toHaveLength(0);
  await collect(answer);
  expect(upstream.requests).toHaveLength(1);
});

it('the connection is closed when the reader stops early', async () => {
  await using upstream = await startUpstream(() => streamEvents([textChunk('a'), textChunk('b')], 'stall'));
  for await (const _ of makeModel(upstream.baseUrl).generate(makeRequest(), { signal: neverAborted, streamed: true }))
    break;
  expect(await upstream.requests[0]?.closedEarly).toBe(true);
});

it('each token is yielded when it arrives, not when the next one does', async () => {
  // The upstream sends a token only when the one before has been yielded.
  const yielded = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const steps: Step[] = ['a', 'b', 'c'].flatMap((token, index) => [
    { send: encodeEvent(textChunk(token)) },
    { until: yielded[index]?.promise ?? Promise.resolve() },
  ]);
  await using upstream = await startUpstream(() => ({
    headers: EVENT_STREAM,
    steps: [...steps, { send: encodeEvent('[DONE]') }],
  }));
  let texts = 0;
  for await (const event of makeModel(upstream.baseUrl).generate(makeRequest(), {
    signal: neverAborted,
    streamed: true,
  })) {
    if (event.type === 'text') {
      yielded[texts]?.resolve();
      texts += 1;
    }
  }
  expect(texts).toBe(3);
});

/**
 * Waits until both sides have handled what is on the wire. All of it is in this process, so a few turns are enough, unless the kernel
 * of a busy machine delivers it late.
 */
async function settle(): Promise<void> {
  await sleep(20);
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
}

/** Waits until the last response has ended on both sides, so that its connection is idle. */
async function untilIdle({ requests }: Upstream): Promise<void> {
  await requests.at(-1)?.closedEarly;
  await settle();
}

describe('a connection', () => {
  it('a connection is reused after a complete answer, streamed, buffered or refused', async () => {
    const replies: Reply[] = [
      COMPLETE,
      { body: { choices: [{ message: { content: 'x' } }] } },
      { status: 400, body: { error: { message: 'no' } } },
      streamEvents([textChunk('a'), '[DONE]']),
      COMPLETE,
    ];
    await using upstream = await startUpstream((_, nth) => replies[nth] ?? COMPLETE);
    const model = makeModel(upstream.baseUrl);
    for (const streamed of [true, false, false, true, true]) {
      await collectOutcome(model.generate(makeRequest(), { signal: neverAborted, streamed }));
      await untilIdle(upstream);
    }
    expect(new Set(upstream.requests.map(({ connection }) => connection)).size).toBe(1);
  });

  it('a connection is reused if the reader stops at the finish event', async () => {
    await using upstream = await startUpstream(() => streamEvents([textChunk('a'), '[DONE]']));
    const model = makeModel(upstream.baseUrl);
    for (let round = 0; round < 3; round += 1) {
      for await (const event of model.generate(makeRequest(), { signal: neverAborted, streamed: true })) {
        if (event.type === 'finish') break;
      }
      await untilIdle(upstream);
    }
    expect(new Set(upstream.requests.map(({ connection }) => connection)).size).toBe(1);
  });

  it('a connection that the upstream holds open after [DONE] delays nothing and is closed', async () => {
    await using upstream = await startUpstream(() => streamEvents([textChunk('a'), '[DONE]'], 'stall'));
    const { events, error } = await call(upstream.baseUrl);
    expect(error).toBeUndefined();
    expect(summarize(events)).toMatchObject({ text: 'a', reason: 'stop' });
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('an answer is complete even if the upstream holds the connection open after the finish_reason', async () => {
    const finished = { choices: [{ delta: {}, finish_reason: 'stop' }] };
    await using upstream = await startUpstream(() => streamEvents([textChunk('a'), finished], 'stall'));
    const { events, error } = await call(upstream.baseUrl);
    expect(error).toBeUndefined();
    expect(summarize(events)).toEqual({ text: 'a', reason: 'stop', usage: undefined });
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('a stale connection is retried immediately', async () => {
    await using upstream = await startUpstream((_, nth) => (nth === 1 ? 'cut' : COMPLETE));
    const model = makeModel(upstream.baseUrl);
    await collect(model.generate(makeRequest(), { signal: neverAborted, streamed: true }));
    await untilIdle(upstream);
    const stale = await collectOutcome(model.generate(makeRequest(), { signal: neverAborted, streamed: true }));
    expect(expectUpstreamError(stale)).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'retry',
      retryAfterMs: 0,
    });
    const [first, second] = upstream.requests;
    expect(second?.connection).toBe(first?.connection);
    expect(
      (await collectOutcome(model.generate(makeRequest(), { signal: neverAborted, streamed: true }))).error,
    ).toBeUndefined();
  });

  it('a connection that the upstream closed between two calls is not reused', async () => {
    await using upstream = await startUpstream(() => COMPLETE);
    const model = makeModel(upstream.baseUrl);
    for (let round = 0; round < 3; round += 1) {
      expect(
        (await collectOutcome(model.generate(makeRequest(), { signal: neverAborted, streamed: true }))).error,
      ).toBeUndefined();
      await untilIdle(upstream);
      upstream.closeIdle();
      await settle();
    }
    expect(new Set(upstream.requests.map(({ connection }) => connection)).size).toBe(3);
  });

  it('many calls can run at once', async () => {
    await using upstream = await startUpstream();
    const model = makeModel(upstream.baseUrl);
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, index) => {
        const content = [{ type: 'text', text: `number ${index}` }] as const;
        const request = makeRequest({ messages: [{ role: 'user', content }] });
        return collectOutcome(model.generate(request, { signal: neverAborted, streamed: index % 2 === 0 }));
      }),
    );
    expect(outcomes.map(({ events }) => summarize(events))).toEqual(
      outcomes.map((_, index) => expect.objectContaining({ text: `You said: number ${index}`, reason: 'stop' })),
    );
  });
});

describe('a compressed answer', () => {
  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('an answer that is compressed with %s is decompressed, streamed and buffered', async (encoding, compress) => {
    const body = compress(readRecording('openai-text'));
    const pieces = [...body].map((byte) => Uint8Array.of(byte));
    await using upstream = await startUpstream(() => ({
      ...streamChunks(pieces),
      headers: { ...EVENT_STREAM, 'content-encoding': encoding },
    }));
    for (const streamed of [true, false]) {
      const { events, error } = await call(upstream.baseUrl, { streamed });
      expect(error).toBeUndefined();
      expect(summarize(events)).toMatchObject({ text: 'Grüße 👋🏽!\n' });
    }
    expect(upstream.requests[0]?.headers['accept-encoding']).toBe('identity');
  });

  it('an answer with an unknown compression or garbled bytes fails', async () => {
    const encodings = ['zstd-of-tomorrow', 'gzip'];
    await using upstream = await startUpstream((_, nth) => ({
      headers: { ...EVENT_STREAM, 'content-encoding': encodings[nth] ?? '' },
      body: 'data: plain\n\n',
    }));
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_malformed');
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_cut');
  });
});

describe('an oversized answer', () => {
  const MEGABYTE = 'x'.repeat(1024 * 1024);

  it('an oversized event fails with upstream_malformed, and the connection is closed', async () => {
    function* endless(): Generator<Step> {
      yield { send: 'data: ' };
      for (let megabytes = 0; megabytes < 100; megabytes += 1) yield { send: MEGABYTE };
    }
    await using upstream = await startUpstream(() => ({ headers: EVENT_STREAM, steps: endless() }));
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_malformed');
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('an oversized buffered body fails with upstream_malformed, and the connection is closed', async () => {
    function* endless(): Generator<Step> {
      for (let megabytes = 0; megabytes < 200; megabytes += 1) yield { send: MEGABYTE };
    }
    await using upstream = await startUpstream(() => ({
      headers: { 'content-type': 'application/json' },
      steps: endless(),
    }));
    expect(expectUpstreamError(await call(upstream.baseUrl, { streamed: false })).code).toBe('upstream_malformed');
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('the body of an error is read up to a limit', async () => {
    function* endless(): Generator<Step> {
      for (let megabytes = 0; megabytes < 100; megabytes += 1) yield { send: MEGABYTE };
    }
    await using upstream = await startUpstream(() => ({ status: 503, steps: endless() }));
    expect(expectUpstreamError(await call(upstream.baseUrl)).code).toBe('upstream_unavailable');
    expect(await upstream.requests[0]?.closedEarly).toBe(true);
  });

  it('an answer is read with backpressure', async () => {
    let sentMegabytes = 0;
    function* plenty(): Generator<Step> {
      for (; sentMegabytes < 64; sentMegabytes += 1) yield { send: encodeEvent(textChunk(MEGABYTE)) };
      yield { send: encodeEvent('[DONE]') };
    }
    await using upstream = await startUpstream(() => ({ headers: EVENT_STREAM, steps: plenty() }));
    let texts = 0;
    for await (const event of makeModel(upstream.baseUrl).generate(makeRequest(), {
      signal: neverAborted,
      streamed: true,
    })) {
      if (event.type !== 'text') continue;
      texts += 1;
      if (texts === 1) {
        await sleep(300);
        // At most the capacity of the kernel's socket buffers.
        expect(sentMegabytes).toBeLessThan(24);
      }
    }
    expect(texts).toBe(64);
  });
});
