import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type LambentError, toLambentError } from '../../../../../shared/core/errors.ts';
import type { GenerationRequest, Message } from '../../../../../shared/inference/generation.ts';
import { createBedrockModel } from '../../../../../shared/inference/providers/bedrock/bedrock.ts';
import { getBedrockCapabilities } from '../../../../../shared/inference/providers/bedrock/family.ts';
import { parseModelRegistry } from '../../../../../shared/inference/registry.ts';
import { createRouter } from '../../../../../shared/inference/router.ts';
import { parseChatRequest } from '../../../../../shared/openai/chat/request.ts';
import { collect } from '../../requests.ts';
import { chatBody } from './chat-bodies.ts';
import { makeTarget, startUpstreamForTests } from './upstream.ts';

const MODELS = [
  'anthropic.claude-3-haiku-20240307-v1:0',
  'us.anthropic.claude-3-7-sonnet-20250219-v1:0',
  'us.anthropic.claude-opus-4-1-20250805-v1:0',
  'eu.anthropic.claude-sonnet-4-5-20250929-v1:0',
  'global.anthropic.claude-sonnet-4-6',
  'eu.anthropic.claude-opus-4-7',
  'global.anthropic.claude-opus-5',
  'global.anthropic.claude-fable-5-1',
  'amazon.nova-pro-v1:0',
  'global.amazon.nova-2-lite-v1:0',
  'us.meta.llama3-3-70b-instruct-v1:0',
  'us.meta.llama4-scout-17b-instruct-v1:0',
  'mistral.mistral-large-2407-v1:0',
  'mistral.mistral-7b-instruct-v0:2',
  'us.mistral.pixtral-large-2502-v1:0',
  'cohere.command-r-plus-v1:0',
  'us.deepseek.r1-v1:0',
  'deepseek.v3-v1:0',
  'qwen.qwen3-32b-v1:0',
  'openai.gpt-oss-120b-1:0',
  'ai21.jamba-1-5-large-v1:0',
  'us.writer.palmyra-x5-v1:0',
  'moonshotai.kimi-k2.5',
  'zai.glm-4.7',
] as const;

/** Codes with which Lambent itself refuses what a model can't do. The error names the caller's parameter. */
const OWN_CODES = new Set(['unsupported_parameter', 'unsupported_value', 'invalid_value']);
/** An answer that the router checked against a schema: the stand-in always answers with the same words. */
const ANSWERED: ReadonlySet<string> = new Set(['output_mismatch']);

const upstream = await startUpstreamForTests();

/** Adds the reasoning that Claude signed to the assistant messages, as the Responses API gives it back. */
function addReasoning(messages: readonly Message[]): Message[] {
  const continuation = { provider: 'bedrock', data: { family: 'claude', text: 'Hm', signature: 'c2ln' } };
  return messages.map((message) =>
    message.role === 'assistant'
      ? { ...message, content: [{ type: 'reasoning', text: 'Hm', continuation }, ...message.content] }
      : message,
  );
}

it.each(MODELS)(
  '%s accepts every valid request that Lambent sends, or Lambent refuses it and names the parameter',
  async (model) => {
    const registry = parseModelRegistry(
      JSON.stringify({ models: { m: { targets: [{ provider: 'bedrock', model, promptCache: { ttl: '1h' } }] } } }),
      'test',
    );
    const target = makeTarget({ model, promptCache: { ttl: '1h' } });
    const limits = { maxOutputTokens: 4_096 };
    const router = createRouter({
      registry,
      createModel: async () => createBedrockModel(target, upstream.client, limits),
      getCapabilities: () => getBedrockCapabilities(target),
    });
    const ask = async (generation: GenerationRequest, streamed: boolean): Promise<LambentError | undefined> => {
      const options = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed };
      try {
        await collect((await router.generate(generation, options)).events);
        return undefined;
      } catch (thrown) {
        return toLambentError(thrown);
      }
    };
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(chatBody, fc.boolean(), async (body, reasons) => {
        const { generation, streamed } = parseChatRequest(body, { registry, tenant: 'acme' });
        const messages = reasons ? addReasoning(generation.messages) : generation.messages;
        const error = await ask({ ...generation, messages }, streamed);
        if (error === undefined || ANSWERED.has(error.code)) answered += 1;
        else
          expect({ ...error, message: error.message }).toMatchObject({
            code: expect.toSatisfy(isOwn),
            param: expect.any(String),
          });
      }),
      { numRuns: Number(process.env['PROPERTY_RUNS'] ?? 40) },
    );
    // The property would hold for a provider that refuses everything.
    expect(answered).toBeGreaterThan(0);
  },
);

function isOwn(code: string): boolean {
  return OWN_CODES.has(code);
}
