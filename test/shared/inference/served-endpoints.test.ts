import { describe, expect, it } from 'vitest';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { toJob } from '../../../shared/api/admit.ts';
import { findCandidates } from '../../../shared/inference/candidates.ts';
import type { GenerationRequest, OriginalRequest } from '../../../shared/inference/generation.ts';
import { getCapabilities } from '../../../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createReceiverPorts } from '../api/receiver-ports.ts';
import { makeRequest } from './requests.ts';

const TARGET = { provider: 'openai-compatible', baseUrl: 'http://127.0.0.1:1/v1' };
const MESSAGES_ONLY = { ...TARGET, model: 'claude', passThrough: ['messages'] };

const registry = parseModelRegistry(
  JSON.stringify({
    models: {
      only: { targets: [MESSAGES_ONLY] },
      mixed: { targets: [MESSAGES_ONLY, { ...TARGET, model: 'chat' }] },
      backed: { targets: [MESSAGES_ONLY], fallbacks: ['chat'] },
      strict: { targets: [MESSAGES_ONLY], fallbacks: ['strict-chat'] },
      'strict-chat': { targets: [{ ...TARGET, model: 'chat' }], passUnknown: true },
      both: { targets: [{ ...TARGET, model: 'both', passThrough: ['messages', 'chat'] }] },
      weak: { targets: [{ ...MESSAGES_ONLY, capabilities: ['tools', 'json'] }] },
      chat: { targets: [{ ...TARGET, model: 'chat' }] },
      embedding: { targets: [{ ...TARGET, model: 'embed' }], embeddings: {} },
    },
  }),
  'test',
);
const original: OriginalRequest = { protocol: 'messages', body: {}, ignored: [] };

function listModels(model: string, changes: Partial<GenerationRequest> = {}): string[] {
  return findCandidates(makeRequest({ model, ...changes }), registry, getCapabilities).map(
    ({ target }) => target.model,
  );
}

describe('a target that speaks nothing but messages', () => {
  it('it gets requests for messages, and all others go to other targets', () => {
    expect(listModels('only', { original })).toEqual(['claude']);
    expect(listModels('backed', { original })).toEqual(['claude', 'chat']);
    for (const conversationKey of ['a', 'b', 'c', 'd', 'e', 'f']) {
      expect(listModels('mixed', { conversationKey })).toEqual(['chat']);
      expect(listModels('mixed', { conversationKey, original: { ...original, protocol: 'chat' } })).toEqual(['chat']);
    }
    expect(listModels('backed')).toEqual(['chat']);
    expect(listModels('both')).toEqual(['both']);
  });

  it('without another target, the error names the model and its endpoint', () => {
    expect(() => listModels('only')).toThrow(/`only` is only supported in \/v1\/messages.*fallback/);
    expect(() => listModels('embedding')).toThrow('`embedding` only generates embeddings: use /v1/embeddings.');
  });

  it.each([
    ['/v1/chat/completions', { messages: [{ role: 'user', content: 'Hi' }] }],
    ['/v1/responses', { input: 'Hi' }],
  ] as const)('a queued request of %s is rejected before it becomes a job', (endpoint, body) => {
    const ports = { ...createReceiverPorts({ now: 0 }), registry, onError: () => {} };
    const submit = (model: string) =>
      toJob(
        { tenant: 'acme', endpoint, idempotencyKey: 'k' } as never,
        { model, ...body },
        { tenant: 'acme', keyId: 'orders', policy: UNRESTRICTED },
        ports as never,
      );
    const rejection = (text: string) =>
      expect.objectContaining({ reason: expect.objectContaining({ message: expect.stringContaining(text) }) });
    expect(() => submit('only')).toThrow(rejection('`only` is only supported in /v1/messages'));
    expect(() => submit('embedding')).toThrow(rejection('`embedding` only generates embeddings'));
    expect(submit('backed')).toMatchObject({ endpoint });
  });

  it('it gets documents and other content that its model may know', () => {
    const document = { type: 'document', mediaType: 'application/pdf', base64: '', param: 'messages.0' } as const;
    expect(listModels('only', { original, messages: [{ role: 'user', content: [document] }] })).toEqual(['claude']);
  });

  it('it gets no request whose answer would have to be checked or shortened', () => {
    const tool = { name: 'f', parameters: {}, strict: true };
    const parameterNames = { tools: 'tools', parallelToolCalls: 'tool_choice.disable_parallel_tool_use' };
    const ask = { original, parameterNames, tools: [tool] };
    expect(listModels('only', { ...ask, parallelToolCalls: false })).toEqual(['claude']);
    expect(listModels('weak', { ...ask, tools: [{ ...tool, strict: false }] })).toEqual(['claude']);
    expect(() => listModels('weak', ask)).toThrow(/'tools' .*strictTools/);
    const single = { ...ask, tools: [{ ...tool, strict: false }], parallelToolCalls: false };
    expect(() => listModels('weak', single)).toThrow(/'tool_choice.disable_parallel_tool_use' .*singleToolCall/);
  });
});

it('a request that only a fallback could serve otherwise than asked is refused', () => {
  expect(() => listModels('backed', { unknown: { mood: 'good' } })).toThrow(/'mood' is not supported by the fallbacks/);
  expect(listModels('strict', { unknown: { mood: 'good' } })).toEqual(['chat']);
});
