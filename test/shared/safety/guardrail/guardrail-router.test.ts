import { setTimeout as sleep } from 'node:timers/promises';
import { BedrockRuntimeClient } from '@aws-sdk/client-bedrock-runtime';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AssessTexts, GuardrailCall } from '../../../../local/bedrock/guardrails.ts';
import { createGuide } from '../../../../local/bedrock/guide.ts';
import { type BedrockStandIn, startBedrock } from '../../../../local/bedrock/server.ts';
import type { GuardrailUse } from '../../../../shared/access/content-policy-schema.ts';
import type { GenerationEvent, GenerationRequest, Message } from '../../../../shared/inference/generation.ts';
import { createBedrockGuardrail } from '../../../../shared/safety/guardrail/bedrock-guardrail.ts';
import { withGuardrails } from '../../../../shared/safety/guardrail/guardrail-router.ts';
import { createGuardrailWatcher } from '../../../../shared/safety/guardrail/guardrail-watcher.ts';
import { holdBack } from '../../../../shared/safety/hold-back.ts';
import { waitUntil } from '../../../wait.ts';
import { recordTelemetry } from '../../core/recorded-telemetry.ts';
import { collect, makeRequest } from '../../inference/requests.ts';
import { cut, FINISH, joinTexts, OPTIONS, stream } from '../answers.ts';

const FILTERED: GenerationEvent = { type: 'finish', reason: 'contentFilter', usage: undefined };
const toText = (text: string): GenerationEvent => ({ type: 'text', text });

/** Blocks the word `bad`. */
const blockBad: AssessTexts = ({ texts }) => (texts.some((text) => text.includes('bad')) ? { words: ['bad'] } : {});

let assess: AssessTexts;
let calls: GuardrailCall[];
let bedrock: BedrockStandIn;
beforeAll(async () => {
  bedrock = await startBedrock({
    respond: createGuide(),
    guardrails: {
      abc123: (call) => {
        calls.push(call);
        return assess(call);
      },
    },
  });
  process.env['AWS_ENDPOINT_URL_BEDROCK_RUNTIME'] = bedrock.url;
  process.env['AWS_REGION'] = 'eu-west-1';
  process.env['AWS_ACCESS_KEY_ID'] = 'test';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
});
afterAll(() => bedrock.close());
beforeEach(() => {
  assess = blockBad;
  calls = [];
});

const registry = {
  guardrails: {
    strict: { id: 'abc123', version: '1' },
    abroad: { id: 'abc123', version: '1', region: 'eu-central-1' },
    missing: { id: 'nope', version: '1' },
  },
};

const say = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });

/** What a request has, and what may cancel it. */
interface Sent extends Partial<Pick<GenerationRequest, 'messages' | 'tools'>> {
  readonly text?: string;
  readonly signal?: AbortSignal;
}

/** Sends a request through the guardrails of a policy. */
async function send(
  use: Partial<GuardrailUse>,
  events: AsyncIterable<GenerationEvent>,
  { text = 'Hello', messages = [say(text)], tools = [], signal = new AbortController().signal }: Sent = {},
): Promise<AsyncIterable<GenerationEvent>> {
  const policy = { project: { guardrail: { name: 'strict', ...use } } };
  const request = makeRequest({ messages, tools });
  const router = withGuardrails(policy, { generate: async () => ({ events }) }, registry);
  return (await router.generate(request, { ...OPTIONS, signal })).events;
}

describe('the input of a guardrail', () => {
  it('a request that the guardrail blocks is refused and not sent', async () => {
    let isSent = false;
    const policy = { key: { guardrail: { name: 'strict' } } };
    const request = makeRequest({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a bad one' }] }] });
    const generate = async () => {
      isSent = true;
      return { events: stream([]) };
    };
    const answer = withGuardrails(policy, { generate }, registry).generate(request, OPTIONS);
    await expect(answer).rejects.toMatchObject({ code: 'content_filter' });
    expect(isSent).toBe(false);
    expect(calls.map(({ source, texts }) => [source, texts])).toEqual([['INPUT', ['a bad one']]]);
  });

  it('a guardrail that masks personal data counts as one that blocks', async () => {
    assess = () => ({ pii: [{ type: 'NAME', match: 'Ada', action: 'ANONYMIZED' }] });
    await expect(send({}, stream([]))).rejects.toMatchObject({ code: 'content_filter' });
  });

  it('a guardrail that only reports what it detects lets it pass', async () => {
    assess = () => ({ filters: [{ type: 'HATE', confidence: 'HIGH', action: 'NONE' }] });
    expect(await collect(await send({}, stream([FINISH])))).toEqual([FINISH]);
  });

  it('a guardrail for answers does not see the request', async () => {
    await send({ on: 'output' }, stream([]), { text: 'bad' });
    expect(calls).toEqual([]);
  });

  it('a long text is checked in calls within the limit of Bedrock, and what crosses their border is seen', async () => {
    const border = `${'x'.repeat(19_998)}bad${'x'.repeat(30_000)}`;
    await expect(send({}, stream([]), { text: border })).rejects.toMatchObject({ code: 'content_filter' });
    expect(calls.length).toBeGreaterThan(1);
    calls = [];
    expect(await collect(await send({ on: 'input' }, stream([FINISH]), { text: 'x'.repeat(300_000) }))).toEqual([
      FINISH,
    ]);
    expect(calls.flatMap(({ texts }) => texts).join('').length).toBeGreaterThanOrEqual(300_000);
  });

  it('a request with many short texts, such as the keys of a schema, is checked with few text units', async () => {
    const properties = Object.fromEntries(
      ['city', 'unit', 'days'].map((name) => [name, { type: 'string', description: `The ${name}` }]),
    );
    const parameters = { type: 'object', properties, required: Object.keys(properties), additionalProperties: false };
    const tools = [{ name: 'weather', description: 'Returns the weather', parameters, strict: true }];
    const messages = Array.from({ length: 31 }, (_, turn) => say(`turn ${turn}`));
    for (const onFailure of ['refuse', 'pass'] as const) {
      calls = [];
      expect(await collect(await send({ on: 'input', onFailure }, stream([FINISH]), { messages, tools }))).toEqual([
        FINISH,
      ]);
      expect(calls.flatMap(({ texts }) => texts)).toHaveLength(1);
      const sent = { messages: [...messages, say('a bad one')], tools };
      await expect(send({ onFailure }, stream([]), sent)).rejects.toMatchObject({ code: 'content_filter' });
    }
  });

  it('many texts that are longer than half a text unit are checked in calls within the limit of Bedrock', async () => {
    const messages = Array.from({ length: 60 }, () => say('x'.repeat(501)));
    expect(await collect(await send({ on: 'input' }, stream([FINISH]), { messages }))).toEqual([FINISH]);
    expect(calls.flatMap(({ texts }) => texts)).toHaveLength(60);
  });

  it('the log line of a request names the guardrails that it was sent to, and their regions', async () => {
    const { lines, ...telemetry } = recordTelemetry();
    const policy = { account: { guardrail: { name: 'strict' } }, project: { guardrail: { name: 'abroad' } } };
    const router = withGuardrails(policy, { generate: async () => ({ events: stream([FINISH]) }) }, registry);
    const request = makeRequest({ messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }] });
    await collect((await router.generate(request, { ...OPTIONS, telemetry })).events);
    telemetry.logger.summarize('request', {});
    expect(lines.at(-1)).toMatchObject({ guardrails: 'strict abroad', sentTo: 'bedrock bedrock:eu-central-1' });
  });

  it('the log line of a request counts the checks of all its calls, such as that of a summary before the answer', async () => {
    const { lines, ...telemetry } = recordTelemetry();
    const policy = { account: { guardrail: { name: 'strict' } }, project: { guardrail: { name: 'abroad' } } };
    const router = withGuardrails(policy, { generate: async () => ({ events: stream([FINISH]) }) }, registry);
    const checks: unknown[] = [];
    const times: number[] = [];
    for (const text of ['Summarize', 'Answer']) {
      const request = makeRequest({ messages: [{ role: 'user', content: [{ type: 'text', text }] }] });
      await collect((await router.generate(request, { ...OPTIONS, telemetry })).events);
      telemetry.logger.summarize('request', {});
      checks.push(lines.at(-1)?.['guardrailChecks']);
      times.push(Number(lines.at(-1)?.['guardrailMs']));
    }
    expect(checks).toEqual([2, 4]);
    expect(times).toEqual(times.toSorted((first, second) => first - second));
  });

  it('a policy that names an unknown guardrail refuses all requests', async () => {
    for (const name of ['unknown', 'missing', 'constructor']) {
      await expect(send({ name, onFailure: 'pass' }, stream([]))).rejects.toMatchObject({ code: 'configuration' });
    }
  });
});

describe('the output of a guardrail', () => {
  it('no event of an answer leaves before the guardrail has answered for it', async () => {
    let answer = (): void => undefined;
    assess = async () => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return {};
    };
    const sent: string[] = [];
    const events = await send(
      { on: 'output', windowCharacters: 100, overlapCharacters: 10 },
      stream([...Array.from({ length: 30 }, () => toText('0123456789')), FINISH]),
    );
    const reading = (async () => {
      for await (const event of events) if (event.type === 'text') sent.push(event.text);
    })();
    const before = [0, 90, 190];
    for (const [window, after] of [90, 190, 300].entries()) {
      await waitUntil('the window is being checked', () => calls.length === window + 1);
      // The guardrail answers late. Until then, nothing else leaves.
      await sleep(20);
      expect(sent.join('').length).toBe(before[window]);
      answer();
      await waitUntil('the checked text is sent', () => sent.join('').length === after);
    }
    await reading;
  });

  it('a text that a window would cut is seen whole in the next one, however the answer is split', async () => {
    const word = fc.constantFrom('bad', 'good ', 'b', 'ba', 'ad ', 'some other words ');
    await fc.assert(
      fc.asyncProperty(
        fc.array(word, { maxLength: 30 }).map((words) => words.join('')),
        fc.array(fc.nat(), { maxLength: 30 }),
        fc.integer({ min: 3, max: 60 }),
        async (whole, positions, windowCharacters) => {
          const events = [...cut(whole, positions).map(toText), FINISH];
          const check = async (text: string): Promise<boolean> => !text.includes('bad');
          const create = () => createGuardrailWatcher({ windowCharacters, overlapCharacters: 3, check });
          const passed = await collect(holdBack(stream(events), create, 'text'));
          if (whole.includes('bad')) {
            expect(passed.at(-1)).toEqual(FILTERED);
            expect(joinTexts(passed).length).toBeLessThanOrEqual(whole.indexOf('bad'));
          } else expect(passed).toEqual(events);
        },
      ),
    );
  });

  it.each<[string, GenerationEvent]>([
    ['text', toText('bad')],
    ['reasoning', { type: 'reasoning', text: 'bad' }],
    ['a refusal', { type: 'refusal', text: 'bad' }],
    ['tool arguments', { type: 'toolArguments', index: 0, fragment: '{"x":"b\\u0061d"}' }],
  ])('%s is checked', async (_, event) => {
    expect(await collect(await send({ on: 'output' }, stream([event, FINISH])))).toEqual([FILTERED]);
  });
});

describe('a guardrail that fails', () => {
  const unavailable = { type: 'error', status: 503, name: 'ServiceUnavailableException', message: 'Down' } as const;
  const hang: AssessTexts = ({ signal }) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve({}), { once: true }));

  it.each<[string, AssessTexts]>([
    ['is down', () => unavailable],
    ['does not answer in time', hang],
  ])('a request is refused if the guardrail %s', async (_, down) => {
    assess = down;
    const answer = send({ timeoutMs: 400 }, stream([]));
    await expect(answer).rejects.toMatchObject({ code: 'guardrail_unavailable', retryable: true });
  });

  it('an answer ends with an error if the guardrail fails, and nothing unchecked is sent', async () => {
    assess = () => unavailable;
    const events = await send({ on: 'output' }, stream([toText('Hello'), FINISH]));
    await expect(collect(events)).rejects.toMatchObject({ code: 'guardrail_unavailable' });
  });

  it('content passes if the policy says so, and each side waits for one failure', async () => {
    assess = hang;
    const events = [...Array.from({ length: 20 }, () => toText('x'.repeat(100))), FINISH];
    // Long enough for the call to arrive, even on a busy machine.
    const use = { onFailure: 'pass', timeoutMs: 2_000, windowCharacters: 100 } as const;
    expect(await collect(await send(use, stream(events)))).toEqual(events);
    expect(calls.map(({ source }) => source)).toEqual(['INPUT', 'OUTPUT']);
  });

  it('an answer is checked although the check of its request has failed', async () => {
    assess = (call) => (call.source === 'INPUT' ? unavailable : blockBad(call));
    expect(await collect(await send({ onFailure: 'pass' }, stream([toText('bad'), FINISH])))).toEqual([FILTERED]);
  });

  const long = `${'x'.repeat(30_000)}bad`;
  const throttled = { type: 'error', status: 429, name: 'ThrottlingException', message: 'Slow down' } as const;
  const failFirst =
    (assessRest: AssessTexts): AssessTexts =>
    (call) =>
      call.texts.join('').length === 20_000 ? unavailable : assessRest(call);

  it('the verdict of a call counts although another call of the check has failed', async () => {
    assess = failFirst(blockBad);
    for (const onFailure of ['refuse', 'pass'] as const)
      await expect(send({ onFailure }, stream([]), { text: long })).rejects.toMatchObject({ code: 'content_filter' });
  });

  it.each<[string, AssessTexts]>([
    ['a guardrail that answers a part of a check', failFirst(() => ({}))],
    ['a guardrail whose quota is exhausted', () => throttled],
    ['a guardrail of which one call fails and one is throttled', failFirst(() => throttled)],
  ])('%s is not down, so nothing passes: callers could bring this about', async (_, down) => {
    assess = down;
    const answer = send({ onFailure: 'pass', timeoutMs: 2_000 }, stream([]), { text: long });
    await expect(answer).rejects.toMatchObject({ code: 'guardrail_unavailable', retryable: true });
  });

  it('a call that was throttled is repeated', async () => {
    assess = () => (calls.length <= 4 ? throttled : { words: [] });
    expect(await collect(await send({ on: 'input', timeoutMs: 20_000 }, stream([FINISH])))).toEqual([FINISH]);
    expect(calls.length).toBe(5);
  });

  it('a guardrail that may not be used is an error of the configuration, also if content may pass', async () => {
    assess = () => ({ type: 'error', status: 403, name: 'AccessDeniedException', message: 'Not allowed' });
    await expect(send({ onFailure: 'pass' }, stream([]))).rejects.toMatchObject({ code: 'configuration' });
  });

  it('a cancelled request does not count as a failure of the guardrail', async () => {
    assess = hang;
    const cancel = new AbortController();
    const answer = send({ onFailure: 'pass' }, stream([]), { signal: cancel.signal });
    await waitUntil('the guardrail is called', () => calls.length === 1);
    cancel.abort(new Error('cancelled'));
    await expect(answer).rejects.toThrow('cancelled');
  });
});

it('the filters that a guardrail reports are read', async () => {
  assess = () => ({ filters: [{ type: 'VIOLENCE', confidence: 'MEDIUM', action: 'BLOCKED' }] });
  const client = new BedrockRuntimeClient({ maxAttempts: 1 });
  const guardrail = createBedrockGuardrail({ id: 'abc123', version: 'DRAFT' }, client);
  const options = { source: 'OUTPUT', timeoutMs: 5_000, signal: new AbortController().signal } as const;
  expect(await guardrail.assess(['x'], options)).toMatchObject({
    intervened: true,
    filters: [{ type: 'VIOLENCE', confidence: 'MEDIUM', action: 'BLOCKED' }],
  });
  client.destroy();
});
