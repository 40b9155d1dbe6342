import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createContinuationSeal, sealContinuations } from '../../../shared/inference/continuation-seal.ts';
import type { Continuation, GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';
import type { Model } from '../../../shared/inference/model.ts';
import { collect, makeAnswer, makeRequest } from './requests.ts';

const STACK = 'arn:aws:kms:eu-west-1:111122223333:key/9a1f6c1e-0f7e-4f0e-9f0c-3f5b9f1d2c3b';
const seal = createContinuationSeal(STACK);
const CONTINUATION = { provider: 'openai-compatible', data: { field: 'reasoning', upstream: 'secret-fleet/qwen' } };

/** A model that reasons, and records the requests that it gets. */
function createReasoningModel(requests: GenerationRequest[]): Model {
  return {
    managesOwnHealth: true,
    async *generate(request) {
      requests.push(request);
      yield { type: 'reasoning', text: 'Hm' };
      yield { type: 'reasoningEnd', continuation: CONTINUATION };
      yield* makeAnswer('Yes');
    },
  };
}

function makeRequestWith(continuation: Continuation, tenant = 'acme'): GenerationRequest {
  const content = [{ type: 'reasoning' as const, text: 'Hm', continuation }];
  return makeRequest({ tenant, messages: [{ role: 'assistant', content }] });
}

const CALL = { signal: new AbortController().signal, streamed: true };

/** Returns the continuations that the model behind the seal gets with a request. */
async function open(request: GenerationRequest): Promise<(Continuation | undefined)[]> {
  const requests: GenerationRequest[] = [];
  await collect(sealContinuations(createReasoningModel(requests), seal).generate(request, CALL));
  const messages = requests.flatMap((received) => received.messages);
  const parts = messages.flatMap((message) => (message.role === 'assistant' ? message.content : []));
  return parts.map((part) => (part.type === 'reasoning' ? part.continuation : undefined));
}

async function generateContinuation(): Promise<Continuation> {
  const model = sealContinuations(createReasoningModel([]), seal);
  const events: GenerationEvent[] = await collect(model.generate(makeRequest(), CALL));
  const end = events.find((event) => event.type === 'reasoningEnd');
  if (end?.continuation === undefined) throw new Error('no continuation');
  return end.continuation;
}

describe('a sealed continuation', () => {
  it('any continuation opens for its tenant', () => {
    fc.assert(
      fc.property(fc.string(), fc.jsonValue(), fc.string(), (provider, value, tenant) => {
        const data: unknown = JSON.parse(JSON.stringify(value));
        expect(seal.open(seal.seal({ provider, data }, tenant), tenant)).toEqual({ provider, data });
      }),
    );
  });

  it('a caller sees neither provider nor upstream, nor the same value twice', async () => {
    const [first, second] = [await generateContinuation(), await generateContinuation()];
    expect(first.provider).toBe('sealed');
    const shown = JSON.stringify(first) + Buffer.from(String(first.data), 'base64url').toString('latin1');
    for (const name of ['openai', 'secret-fleet', 'qwen', 'upstream']) expect(shown).not.toContain(name);
    expect(first.data).not.toBe(second.data);
  });

  it('the model gets back the continuation that it made, and one that was issued unsealed', async () => {
    expect(await open(makeRequestWith(await generateContinuation()))).toEqual([CONTINUATION]);
    expect(await open(makeRequestWith(CONTINUATION))).toEqual([CONTINUATION]);
  });

  it('the model gets no continuation of another tenant or stack, and no changed one', async () => {
    const sealed = await generateContinuation();
    const changed = `${String(sealed.data).slice(0, 30)}x${String(sealed.data).slice(31)}`;
    expect(await open(makeRequestWith(sealed, 'other'))).toEqual([undefined]);
    expect(await open(makeRequestWith(createContinuationSeal('other').seal(CONTINUATION, 'acme')))).toEqual([
      undefined,
    ]);
    for (const data of [changed, '', 'x', `${String(sealed.data)}AA`, 7, null, { provider: 'bedrock' }]) {
      expect(await open(makeRequestWith({ provider: 'sealed', data }))).toEqual([undefined]);
    }
  });

  it('the sealed model still manages its own health', () => {
    expect(sealContinuations(createReasoningModel([]), seal).managesOwnHealth).toBe(true);
  });
});
