import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ACCESS_ERRORS, refuseAccess } from '../../../../../local/bedrock/access-errors.ts';
import type { Frame } from '../../../../../local/bedrock/frames.ts';
import type { GenerationEvent, Message, Tool } from '../../../../../shared/inference/generation.ts';
import { createBedrockModel } from '../../../../../shared/inference/providers/bedrock/bedrock.ts';
import { waitUntil } from '../../../../wait.ts';
import { collect, makeRequest } from '../../requests.ts';
import {
  blockStop,
  catchUpstreamError,
  event,
  makeTarget,
  script,
  start,
  stop,
  text,
  Upstream,
  usage,
  wholeAnswer,
} from './upstream.ts';

const USAGE = { inputTokens: 7, cachedInputTokens: 0, outputTokens: 5, reasoningTokens: 0 };

/** A tool whose schema has a property of a name that JavaScript treats in a special way. */
const SAVE: Tool = {
  name: 'save',
  strict: false,
  parameters: JSON.parse('{"type":"object","properties":{"__proto__":{"type":"number"}}}'),
};

const toolStart = (contentBlockIndex: number, toolUseId: string, name: string): Frame =>
  event({ contentBlockStart: { contentBlockIndex, start: { toolUse: { toolUseId, name } } } });
const toolInput = (contentBlockIndex: number, input: string): Frame =>
  event({ contentBlockDelta: { contentBlockIndex, delta: { toolUse: { input } } } });

describe.each([{ streamed: true }, { streamed: false }])('an answer (streamed: $streamed)', ({ streamed }) => {
  const generateFrom = async (...frames: readonly Frame[]): Promise<GenerationEvent[]> => {
    await using upstream = await Upstream.start(script(...frames));
    return await upstream.generate({}, { streamed });
  };

  it('an answer contains the text and its usage', async () => {
    expect(await generateFrom(...wholeAnswer)).toEqual([
      { type: 'text', text: 'Hello' },
      { type: 'finish', reason: 'stop', usage: USAGE },
    ]);
  });

  it('an answer numbers parallel tool calls, and a call without arguments gets an empty object', async () => {
    const events = await generateFrom(
      start,
      text('Let me look.'),
      blockStop(0),
      toolStart(1, 'tooluse_a', 'weather'),
      toolInput(1, '{"city":"Rome"}'),
      blockStop(1),
      toolStart(2, 'tooluse_b', 'now'),
      blockStop(2),
      stop('tool_use'),
      usage,
    );
    expect(events).toEqual([
      { type: 'text', text: 'Let me look.' },
      { type: 'toolCall', index: 0, id: 'tooluse_a', name: 'weather' },
      { type: 'toolArguments', index: 0, fragment: '{"city":"Rome"}' },
      { type: 'toolCall', index: 1, id: 'tooluse_b', name: 'now' },
      { type: 'toolArguments', index: 1, fragment: '{}' },
      { type: 'finish', reason: 'toolCalls', usage: USAGE },
    ]);
  });

  it('an answer with tool calls finishes with toolCalls even if the stop reason is end_turn', async () => {
    const events = await generateFrom(start, toolStart(0, 'a', 'now'), blockStop(0), stop('end_turn'), usage);
    expect(events.at(-1)).toMatchObject({ type: 'finish', reason: 'toolCalls' });
  });

  it('an answer contains signed reasoning with its continuation', async () => {
    const delta = (reasoningContent: object): Frame =>
      event({ contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent } as never } });
    const events = await generateFrom(
      start,
      delta({ text: 'Hmm. ' }),
      delta({ signature: 'c2ln' }),
      blockStop(0),
      text('Yes', 1),
      blockStop(1),
      stop('end_turn'),
      usage,
    );
    expect(events.slice(0, 3)).toEqual([
      { type: 'reasoning', text: 'Hmm. ' },
      {
        type: 'reasoningEnd',
        continuation: { provider: 'bedrock', data: { family: 'claude', text: 'Hmm. ', signature: 'c2ln' } },
      },
      { type: 'text', text: 'Yes' },
    ]);
  });

  it('an answer contains redacted reasoning byte for byte', async () => {
    const redactedContent = Uint8Array.of(0, 255, 128, 1);
    const events = await generateFrom(
      start,
      event({ contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent: { redactedContent } } } }),
      blockStop(0),
      stop('end_turn'),
      usage,
    );
    const redacted = Buffer.from(redactedContent).toString('base64');
    expect(events[0]).toEqual({
      type: 'reasoningEnd',
      continuation: { provider: 'bedrock', data: { family: 'claude', redacted } },
    });
  });

  it('the usage of an answer counts cached input as input', async () => {
    const counted = { inputTokens: 10, outputTokens: 2, totalTokens: 142, cacheReadInputTokens: 100 };
    const cacheDetails = [
      { ttl: '1h' as const, inputTokens: 20 },
      { ttl: '5m' as const, inputTokens: 10 },
    ];
    const metadata = { usage: { ...counted, cacheWriteInputTokens: 30, cacheDetails }, metrics: { latencyMs: 1 } };
    const events = await generateFrom(start, text('x'), stop('end_turn'), event({ metadata }));
    expect(events.at(-1)).toMatchObject({
      usage: {
        inputTokens: 140,
        cachedInputTokens: 100,
        cacheWriteTokens: 30,
        hourCacheWriteTokens: 20,
        outputTokens: 2,
        reasoningTokens: 0,
      },
    });
  });

  it('an answer names the stop sequence that ended it, if the request has only one', async () => {
    const stopped = script(start, text('x'), stop('stop_sequence'), usage);
    await using upstream = await Upstream.start(stopped);
    expect((await upstream.generate({ stop: ['END'] })).at(-1)).toMatchObject({ reason: 'stop', stopSequence: 'END' });
    expect((await upstream.generate({ stop: ['END', 'FIN'] })).at(-1)).not.toHaveProperty('stopSequence');
  });

  it('an answer contains the service tier that served it', async () => {
    const metadata = {
      usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 },
      metrics: { latencyMs: 1 },
      serviceTier: { type: 'flex' as const },
    };
    const events = await generateFrom(start, text('x'), stop('end_turn'), event({ metadata }));
    expect(events.at(-1)).toMatchObject({ serviceTier: 'flex' });
  });

  it.each([
    ['end_turn', 'stop'],
    ['stop_sequence', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['guardrail_intervened', 'contentFilter'],
    ['content_filtered', 'contentFilter'],
    ['refusal', 'contentFilter'],
    ['something_new', 'stop'],
  ])('an answer with the stop reason %s finishes with %s', async (stopReason, reason) => {
    const events = await generateFrom(start, text('x'), blockStop(), stop(stopReason), usage);
    expect(events.at(-1)).toMatchObject({ type: 'finish', reason });
  });

  it.each(['malformed_model_output', 'malformed_tool_use'])(
    'an answer with the stop reason %s fails with upstream_malformed',
    async (stopReason) => {
      const error = await catchUpstreamError(generateFrom(start, text('x'), blockStop(), stop(stopReason), usage));
      expect(error).toMatchObject({ code: 'upstream_malformed', recovery: 'retryOnce', upstream: stopReason });
    },
  );
});

describe('JSON output that is requested by a tool', () => {
  it.each([true, false])(
    'the arguments of the answer tool become the text of the answer (streamed: %s)',
    async (streamed) => {
      await using upstream = await Upstream.start(
        script(start, toolStart(0, 'a', 'json_answer'), toolInput(0, '{"a":1}'), blockStop(0), stop('tool_use'), usage),
      );
      const events = await upstream.generate({ format: { type: 'json' } }, { streamed });
      expect(events).toEqual([
        { type: 'text', text: '{"a":1}' },
        { type: 'finish', reason: 'stop', usage: USAGE },
      ]);
    },
  );
});

it('a buffered answer keeps numbers that JavaScript would round', async () => {
  const input = '{"id":9007199254740993,"price":0.12345678901234567890123,"list":[1,null,{"a":true}]}';
  const toolUse = `{"toolUse":{"toolUseId":"a","name":"buy","input":${input}}}`;
  const body = `{"output":{"message":{"role":"assistant","content":[${toolUse}]}},"stopReason":"tool_use"}`;
  await using upstream = await Upstream.start(script({ type: 'bytes', bytes: Buffer.from(body) }));
  const events = await upstream.generate({}, { streamed: false });
  expect(events[1]).toEqual({ type: 'toolArguments', index: 0, fragment: input });
});

it.each(['{"__proto__":1}', '{"__proto__":null,"a":2}', '{"a":{"__proto__":{"b":[3]}},"constructor":{"prototype":4}}'])(
  'the arguments %s come back the same, streamed or buffered, and are accepted in history',
  async (json) => {
    const frames = [start, toolStart(0, 'a', 'save'), toolInput(0, json), blockStop(0), stop('tool_use'), usage];
    await using upstream = await Upstream.start(script(...frames));
    const history: Message[] = [
      { role: 'user', content: [{ type: 'text', text: 'Save it' }] },
      { role: 'assistant', content: [{ type: 'toolCall', id: 'a', name: 'save', arguments: json }] },
      { role: 'tool', toolCallId: 'a', content: [{ type: 'text', text: 'Saved' }] },
    ];
    for (const streamed of [true, false]) {
      const events = await upstream.generate({ messages: history, tools: [SAVE] }, { streamed });
      expect(events[1]).toEqual({ type: 'toolArguments', index: 0, fragment: json });
      expect(JSON.stringify(upstream.calls.at(-1)?.body.messages[1]?.content)).toContain(`"input":${json}`);
      const { toolConfig } = upstream.calls.at(-1)?.body ?? {};
      expect(JSON.stringify(toolConfig)).toContain('"properties":{"__proto__":{"type":"number"}}');
    }
  },
);

const EXCEPTIONS = [
  ['ThrottlingException', 429, 'Too many requests', 'rate_limit_exceeded', 'retry'],
  ['ThrottlingException', 429, 'Too many tokens per day, please wait', 'insufficient_quota', 'nextTarget'],
  ['ServiceQuotaExceededException', 400, 'quota', 'insufficient_quota', 'nextTarget'],
  ['ModelNotReadyException', 429, 'warming', 'upstream_unavailable', 'retry'],
  ['ServiceUnavailableException', 503, 'down', 'upstream_unavailable', 'retry'],
  ['InternalServerException', 500, 'oops', 'upstream_unavailable', 'retry'],
  ['ConflictException', 409, 'conflict', 'upstream_unavailable', 'retry'],
  ['ModelTimeoutException', 408, 'slow', 'upstream_timeout', 'retryOnce'],
  ['ModelErrorException', 424, 'broke', 'upstream_unavailable', 'retryOnce'],
  ['AccessDeniedException', 403, 'no', 'upstream_misconfigured', 'nextTarget'],
  ['UnrecognizedClientException', 403, 'bad token', 'upstream_misconfigured', 'nextTarget'],
  ['ExpiredTokenException', 403, 'expired', 'upstream_misconfigured', 'nextTarget'],
  ['ResourceNotFoundException', 404, 'no model', 'upstream_misconfigured', 'nextTarget'],
  ['ValidationException', 400, 'temperature: wrong', 'upstream_rejected', 'fail'],
  ['ValidationException', 400, 'Input is too long for requested model.', 'context_length_exceeded', 'fail'],
  ['ValidationException', 400, 'prompt is too long: 9 tokens > 8 maximum', 'context_length_exceeded', 'fail'],
  ['ValidationException', 400, 'The provided model identifier is invalid.', 'upstream_misconfigured', 'nextTarget'],
  ['SomethingNewException', 500, 'new', 'upstream_unavailable', 'retry'],
  ['SomethingNewException', 429, 'new', 'rate_limit_exceeded', 'retry'],
  ['SomethingNewException', 400, 'new', 'upstream_rejected', 'fail'],
] as const;

/** What the log names as missing. */
const MISSING: Readonly<Record<keyof typeof ACCESS_ERRORS, string>> = {
  marketplaceSubscription: 'AccessDeniedException: marketplace subscription missing',
  paymentMethod: 'AccessDeniedException: valid payment method missing',
  useCaseForm: 'ResourceNotFoundException: use case form missing',
  modelAccess: 'AccessDeniedException: model access missing',
  permission: 'AccessDeniedException: permission missing',
  inferenceProfile: 'ValidationException: inference profile needed',
};

it.each(Object.entries(MISSING))(
  'an account without %s moves to the next target and logs "%s"',
  async (kind, missing) => {
    for (const streamed of [true, false]) {
      await using upstream = await Upstream.start(refuseAccess(kind as keyof typeof ACCESS_ERRORS));
      const error = await catchUpstreamError(upstream.generate({}, { streamed }));
      expect(error).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget', upstream: missing });
      expect(error.message).not.toMatch(/arn:aws/);
    }
  },
);

describe('an exception', () => {
  it.each(EXCEPTIONS)('an exception %s (%i, "%s") before the answer becomes %s with recovery %s', async (...row) => {
    const [name, status, message, code, recovery] = row;
    for (const streamed of [true, false]) {
      await using upstream = await Upstream.start(script({ type: 'error', status, name, message }));
      const error = await catchUpstreamError(upstream.generate({}, { streamed }));
      expect(error).toMatchObject({ code, recovery, upstream: name, message });
    }
  });

  it.each([
    ['throttlingException', 'rate_limit_exceeded', 'retry'],
    ['serviceUnavailableException', 'upstream_unavailable', 'retry'],
    ['internalServerException', 'upstream_unavailable', 'retry'],
    ['modelStreamErrorException', 'upstream_cut', 'retry'],
    ['validationException', 'upstream_rejected', 'fail'],
    ['modelTimeoutException', 'upstream_timeout', 'retryOnce'],
    ['somethingNewException', 'upstream_cut', 'retry'],
  ])('an exception %s inside the stream becomes %s with recovery %s', async (name, code, recovery) => {
    for (const before of [[], [start], [start, text('Hel')]]) {
      await using upstream = await Upstream.start(script(...before, { type: 'exception', name, message: 'because' }));
      expect(await catchUpstreamError(upstream.generate())).toMatchObject({ code, recovery, message: 'because' });
    }
  });

  it.each([
    [{ 'retry-after': '3' }, 3_000],
    [{ 'retry-after-ms': '250' }, 250],
    [{ 'x-amz-retry-after': '1500' }, 1_500],
    [{ 'retry-after': 'soon' }, undefined],
    [{}, undefined],
  ])('an exception with the headers %o has a retryAfterMs of %s', async (headers, retryAfterMs) => {
    const error = { type: 'error', status: 429, name: 'ThrottlingException', message: 'slow', headers } as const;
    await using upstream = await Upstream.start(script(error));
    expect((await catchUpstreamError(upstream.generate())).retryAfterMs).toBe(retryAfterMs);
  });

  it('an exception shows at most 4,096 characters of its message', async () => {
    const message = `Too long:${'\n'.repeat(50_000)}x`;
    await using upstream = await Upstream.start(
      script({ type: 'error', status: 400, name: 'ValidationException', message }),
    );
    expect((await catchUpstreamError(upstream.generate())).message).toHaveLength(4_096);
  });

  it('the message of an exception contains no account id', async () => {
    const message = 'model arn:aws:bedrock:eu-west-1:123456789012:inference-profile/x takes no images';
    await using upstream = await Upstream.start(
      script({ type: 'error', status: 400, name: 'ValidationException', message }),
    );
    expect((await catchUpstreamError(upstream.generate())).message).toBe('model the model takes no images');
  });

  it('the SDK does not retry an exception', async () => {
    await using upstream = await Upstream.start(
      script({ type: 'error', status: 503, name: 'ServiceUnavailableException', message: 'down' }),
    );
    await catchUpstreamError(upstream.generate());
    expect(upstream.calls).toHaveLength(1);
  });
});

describe('a connection', () => {
  const everyPoint = wholeAnswer.slice(0, -1).map((_, count) => count);

  it.each(everyPoint)('a connection that is cut after %i frames fails with upstream_cut', async (count) => {
    await using upstream = await Upstream.start(script(...wholeAnswer.slice(0, count), { type: 'cut' }));
    const error = await catchUpstreamError(upstream.generate());
    expect(error).toMatchObject({ code: 'upstream_cut', recovery: 'retry' });
  });

  it.each(everyPoint)(
    'a connection that ends after %i frames, before messageStop, fails with upstream_cut',
    async (count) => {
      await using upstream = await Upstream.start(script(...wholeAnswer.slice(0, count)));
      expect(await catchUpstreamError(upstream.generate())).toMatchObject({ code: 'upstream_cut', recovery: 'retry' });
    },
  );

  it('a connection that is cut after messageStop loses only the usage', async () => {
    await using upstream = await Upstream.start(script(...wholeAnswer.slice(0, -1), { type: 'cut' }));
    expect(await upstream.generate()).toEqual([
      { type: 'text', text: 'Hello' },
      { type: 'finish', reason: 'stop', usage: undefined },
    ]);
  });

  it('a connection that is cut before a buffered answer fails with upstream_unavailable', async () => {
    await using upstream = await Upstream.start(script({ type: 'cut' }));
    const error = await catchUpstreamError(upstream.generate({}, { streamed: false }));
    expect(error).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
  });

  it('a refused connection fails with upstream_unavailable', async () => {
    const upstream = await Upstream.start(script());
    await upstream[Symbol.asyncDispose]();
    expect(await catchUpstreamError(upstream.generate())).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'retry',
    });
  });

  it('a response that is not an event stream fails with upstream_cut', async () => {
    await using upstream = await Upstream.start(script(start, { type: 'bytes', bytes: Buffer.from('x'.repeat(400)) }));
    expect(await catchUpstreamError(upstream.generate())).toMatchObject({ code: 'upstream_cut' });
  });

  it('a body that is not JSON fails with upstream_malformed, and the error does not quote it', async () => {
    await using upstream = await Upstream.start(script({ type: 'bytes', bytes: Buffer.from('secret answer') }));
    const error = await catchUpstreamError(upstream.generate({}, { streamed: false }));
    expect(error).toMatchObject({ code: 'upstream_malformed', recovery: 'retryOnce' });
    expect(error.cause).toBeUndefined();
    expect(error.message).not.toContain('secret');
  });

  it('a connection is reused for the next call', async () => {
    await using upstream = await Upstream.start(script(...wholeAnswer));
    const opened = await countConnections(upstream, async () => {
      for (let call = 0; call < 5; call++) await upstream.generate();
    });
    expect(opened).toBe(1);
  });
});

/** Returns the number of TCP connections that `work` opens. */
async function countConnections(upstream: Upstream, work: () => Promise<void>): Promise<number> {
  const { default: diagnostics } = await import('node:diagnostics_channel');
  let opened = 0;
  const count = (): void => void opened++;
  diagnostics.subscribe('net.client.socket', count);
  try {
    await work();
  } finally {
    diagnostics.unsubscribe('net.client.socket', count);
  }
  expect(upstream.calls.length).toBeGreaterThan(0);
  return opened;
}

describe('an abort', () => {
  const stalls: readonly [string, readonly Frame[]][] = [
    ['before the response', [{ type: 'pause', ms: 60_000 }]],
    ['before the first token', [start, { type: 'pause', ms: 60_000 }]],
    ['in the middle', [start, text('Hel'), { type: 'pause', ms: 60_000 }]],
    ['before the usage', [...wholeAnswer.slice(0, -1), { type: 'pause', ms: 60_000 }]],
  ];

  it.each(stalls)('an abort %s closes the upstream and throws its reason', async (_when, frames) => {
    await using upstream = await Upstream.start(script(...frames));
    const cancel = new AbortController();
    const outcome = upstream.generate({}, { signal: cancel.signal }).catch((reason: unknown) => reason);
    await waitUntil('the upstream has the call', () => upstream.calls.length === 1);
    await sleep(50);
    const reason = new Error('the caller gave up');
    cancel.abort(reason);
    expect(await outcome).toBe(reason);
    await waitUntil('the upstream is closed', () => upstream.calls[0]?.signal.aborted === true);
  });

  it('an abort of a buffered call closes the upstream and throws its reason', async () => {
    await using upstream = await Upstream.start(script({ type: 'pause', ms: 60_000 }));
    const cancel = new AbortController();
    const outcome = upstream
      .generate({}, { streamed: false, signal: cancel.signal })
      .catch((reason: unknown) => reason);
    await waitUntil('the upstream has the call', () => upstream.calls.length === 1);
    cancel.abort(new Error('gone'));
    expect(await outcome).toMatchObject({ message: 'gone' });
    await waitUntil('the upstream is closed', () => upstream.calls[0]?.signal.aborted === true);
  });

  it('an aborted signal sends no request', async () => {
    await using upstream = await Upstream.start(script(...wholeAnswer));
    await expect(upstream.generate({}, { signal: AbortSignal.abort(new Error('early')) })).rejects.toThrow('early');
    expect(upstream.calls).toHaveLength(0);
  });

  it('the upstream is closed when the reader stops reading', async () => {
    await using upstream = await Upstream.start(script(start, text('Hel'), { type: 'pause', ms: 60_000 }));
    const model = createBedrockModel(makeTarget(), upstream.client, { maxOutputTokens: 10 });
    const { signal } = new AbortController();
    for await (const _event of model.generate(makeRequest(), { signal, streamed: true })) break;
    await waitUntil('the upstream is closed', () => upstream.calls[0]?.signal.aborted === true);
  });
});

it('no request is sent before the first event is requested', async () => {
  await using upstream = await Upstream.start(script(...wholeAnswer));
  const model = createBedrockModel(makeTarget(), upstream.client, { maxOutputTokens: 10 });
  const events = model.generate(makeRequest(), { signal: new AbortController().signal, streamed: true });
  await sleep(50);
  expect(upstream.calls).toHaveLength(0);
  await collect(events);
  expect(upstream.calls).toHaveLength(1);
});

type ScriptedBlock = { text: string } | { tool: string; args: unknown };

const blocks: fc.Arbitrary<ScriptedBlock[]> = fc.array(
  fc.oneof(
    fc.record({ text: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }) }),
    fc.record({
      tool: fc.stringMatching(/^[a-z]{1,8}$/),
      args: fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }),
    }),
  ),
  { maxLength: 5 },
);

/** Splits `whole` into pieces whose lengths repeat `sizes`. */
function splitBySizes(whole: string, sizes: readonly number[]): string[] {
  const cut: string[] = [];
  for (let at = 0, turn = 0; at < whole.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    cut.push(whole.slice(at, at + size));
    at += size;
  }
  return cut;
}

it('any fragmentation of an answer gives the same text and tool arguments, streamed or buffered', async () => {
  let frames: Frame[] = [];
  await using upstream = await Upstream.start(async function* () {
    yield* frames;
  });
  await fc.assert(
    fc.asyncProperty(blocks, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), async (answer, sizes) => {
      frames = [start];
      for (const [index, block] of answer.entries()) {
        if ('text' in block) frames.push(...splitBySizes(block.text, sizes).map((piece) => text(piece, index)));
        else {
          frames.push(toolStart(index, `tooluse_${index}`, block.tool));
          frames.push(...splitBySizes(JSON.stringify(block.args), sizes).map((piece) => toolInput(index, piece)));
        }
        frames.push(blockStop(index));
      }
      frames.push(stop('end_turn'), usage);
      for (const streamed of [true, false]) {
        const events = await upstream.generate({}, { streamed });
        const said = events.flatMap((one) => (one.type === 'text' ? one.text : [])).join('');
        expect(said).toBe(answer.flatMap((block) => ('text' in block ? block.text : [])).join(''));
        const tools = answer.flatMap((block) => ('tool' in block ? [block] : []));
        for (const [index, { tool, args }] of tools.entries()) {
          const fragments = events.filter((one) => one.type === 'toolArguments' && one.index === index);
          const written = fragments.map((one) => (one.type === 'toolArguments' ? one.fragment : '')).join('');
          expect(JSON.parse(written)).toEqual(JSON.parse(JSON.stringify(args)));
          expect(events).toContainEqual(expect.objectContaining({ type: 'toolCall', index, name: tool }));
        }
        expect(events.at(-1)).toMatchObject({ reason: tools.length > 0 ? 'toolCalls' : 'stop' });
      }
    }),
    {
      numRuns: 60,
      examples: [[[{ tool: 'a', args: JSON.parse('{"__proto__":{"__proto__":1},"constructor":2}') }], [3]]],
    },
  );
});
