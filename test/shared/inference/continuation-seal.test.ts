import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { type ContinuationSeal, SEALED } from '../../../shared/inference/continuation-seal.ts';
import { createContinuationSeal } from '../../../shared/inference/create-continuation-seal.ts';
import type { Continuation, GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';
import type { Model } from '../../../shared/inference/model.ts';
import { sealContinuations } from '../../../shared/inference/sealed-model.ts';
import type { Vault } from '../../../shared/vault/vault.ts';
import { decodeReasoning, encodeReasoning } from '../../../shared/wire/continuation.ts';
import { type Stores, startStores } from '../sessions/services.ts';
import { collect, makeAnswer, makeRequest } from './requests.ts';

let stores: Stores;
let seal: ContinuationSeal;
beforeAll(async () => {
  stores = await startStores();
  seal = createContinuationSeal(async () => stores.vault);
});
afterAll(() => stores[Symbol.asyncDispose]());

const CONTINUATION = { provider: 'openai-compatible', data: { field: 'reasoning', upstream: 'secret-fleet/qwen' } };
const CALL = { signal: new AbortController().signal, streamed: true };

/** A model that reasons, and records the requests that it gets. */
function createReasoningModel(requests: GenerationRequest[]): Model {
  return {
    managesOwnHealth: true,
    async *generate(request) {
      requests.push(request);
      yield { type: 'reasoning', text: 'Hm, ' };
      yield { type: 'reasoning', text: 'well' };
      yield { type: 'reasoningEnd', continuation: CONTINUATION };
      yield* makeAnswer('Yes');
    },
  };
}

function makeRequestWith(continuation: Continuation, tenant = 'acme'): GenerationRequest {
  const content = [{ type: 'reasoning' as const, text: '', continuation }];
  return makeRequest({ tenant, messages: [{ role: 'assistant', content }] });
}

/** Returns the reasoning that the model behind the seal gets with a request. */
async function open(request: GenerationRequest): Promise<unknown[]> {
  const requests: GenerationRequest[] = [];
  await collect(sealContinuations(createReasoningModel(requests), seal).generate(request, CALL));
  return requests.flatMap(({ messages }) => messages.flatMap(({ content }): readonly unknown[] => content));
}

async function findEnd(request: GenerationRequest, by = seal) {
  const model = sealContinuations(createReasoningModel([]), by);
  const events: GenerationEvent[] = await collect(model.generate(request, CALL));
  return events.find((event) => event.type === 'reasoningEnd');
}

async function generateContinuation(): Promise<Continuation> {
  const end = await findEnd(makeRequest({ tenant: 'acme' }));
  if (end?.continuation === undefined) throw new Error('no continuation');
  return end.continuation;
}

describe('a sealed continuation', () => {
  it('a caller sees neither text nor provider nor upstream, nor the same value twice', async () => {
    const [first, second] = [await generateContinuation(), await generateContinuation()];
    expect(first.provider).toBe(SEALED);
    const encoded = encodeReasoning('Hm, well', first) ?? '';
    const decoded = Buffer.from(encoded.slice('lambent1.'.length), 'base64url').toString('latin1');
    const shown = decoded + Buffer.from(String(first.data), 'base64url').toString('latin1');
    for (const name of ['well', 'openai', 'secret-fleet', 'qwen', 'upstream']) expect(shown).not.toContain(name);
    expect(first.data).not.toBe(second.data);
  });

  it('the model gets back the text and the continuation that it made, and one that was issued unsealed', async () => {
    const encoded = encodeReasoning('Hm, well', await generateContinuation()) ?? '';
    const continuation = decodeReasoning(encoded)?.continuation;
    if (continuation === undefined) throw new Error('no continuation');
    expect(await open(makeRequestWith(continuation))).toEqual([
      { type: 'reasoning', text: 'Hm, well', continuation: CONTINUATION },
    ]);
    expect(await open(makeRequestWith(CONTINUATION))).toEqual([
      { type: 'reasoning', text: '', continuation: CONTINUATION },
    ]);
  });

  it('the model gets no continuation of another tenant, and no changed one', async () => {
    const sealed = await generateContinuation();
    const text = String(sealed.data);
    const nothing = [{ type: 'reasoning', text: '' }];
    expect(await open(makeRequestWith(sealed, 'other'))).toEqual(nothing);
    // Now the other tenant has a key of the same version.
    await findEnd(makeRequest({ tenant: 'other' }));
    expect(await open(makeRequestWith(sealed, 'other'))).toEqual(nothing);
    const laterVersion = Buffer.from(text, 'base64url');
    laterVersion.writeUInt32BE(9, 1);
    expect(await open(makeRequestWith({ provider: SEALED, data: laterVersion.toString('base64url') }))).toEqual(
      nothing,
    );
    const changed = `${text.slice(0, 60)}${text[60] === 'x' ? 'y' : 'x'}${text.slice(61)}`;
    for (const data of [changed, '', 'x', `${text}AA`, 7, null]) {
      expect(await open(makeRequestWith({ provider: SEALED, data }))).toEqual(nothing);
    }
  });

  it('a continuation can no longer be opened once its tenant was erased', async () => {
    const sealed = await generateContinuation();
    const erased: Pick<Vault, 'seal' | 'openReceived'> = {
      seal: () => Promise.reject(new Error('unused')),
      openReceived: () => Promise.reject(new LambentError('tenant_deleted', 'This tenant has been deleted')),
    };
    await expect(createContinuationSeal(async () => erased).open(sealed, 'acme')).rejects.toMatchObject({
      code: 'tenant_deleted',
    });
  });

  it('a request whose caller gets no continuations does not open the vault', async () => {
    const unopened = createContinuationSeal(() => Promise.reject(new Error('The vault was opened')));
    const end = await findEnd(makeRequest({ omitsContinuations: true }), unopened);
    expect(end).toEqual({ type: 'reasoningEnd' });
  });

  it('the sealed model keeps the other properties of the model', () => {
    expect(sealContinuations(createReasoningModel([]), seal).managesOwnHealth).toBe(true);
  });
});
