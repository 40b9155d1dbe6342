import { expect, it } from 'vitest';
import type { GenerationRequest } from '../../../../../shared/inference/generation.ts';
import { CLAUDE, startUpstreamForTests } from './upstream.ts';

const SONNET_4_6 = 'global.anthropic.claude-sonnet-4-6';
const CLAUDE_3 = 'anthropic.claude-3-haiku-20240307-v1:0';
const NOVA = 'amazon.nova-pro-v1:0';
const COHERE = 'cohere.command-r-plus-v1:0';

const upstream = await startUpstreamForTests();

const sendSampling = async (model: string, changes: Partial<GenerationRequest>) => {
  const { maxTokens: _, ...sampling } = (await upstream.send(changes, { model })).inferenceConfig ?? {};
  return sampling;
};

it.each([
  [SONNET_4_6, { temperature: 0.7, topP: 1 }, { temperature: 0.7 }],
  [SONNET_4_6, { temperature: 1, topP: 0.9 }, { topP: 0.9 }],
  [SONNET_4_6, { temperature: 1, topP: 1 }, { temperature: 1 }],
  [SONNET_4_6, { topP: 0.9 }, { topP: 0.9 }],
  [CLAUDE_3, { temperature: 0.7, topP: 0.9 }, { temperature: 0.7, topP: 0.9 }],
  [NOVA, { temperature: 0.7, topP: 1 }, { temperature: 0.7, topP: 1 }],
  [COHERE, { topP: 1 }, { topP: 0.99 }],
  [COHERE, { topP: 0 }, { topP: 0.01 }],
  [CLAUDE, { reasoningEffort: 'low', topP: 0.96 }, { topP: 0.96 }],
  [CLAUDE, { reasoningEffort: 'low', topP: 1, temperature: 1 }, {}],
  [NOVA, { stop: ['', 'END'] }, { stopSequences: ['END'] }],
] as const)('for %s, the sampling parameters %o are sent as %o', async (model, changes, expected) => {
  expect(await sendSampling(model, changes)).toEqual(expected);
});

it.each([
  [SONNET_4_6, { temperature: 0.7, topP: 0.9 }, 'top_p'],
  [CLAUDE, { reasoningEffort: 'low', topP: 0.9 }, 'top_p'],
  [CLAUDE, { stop: ['\n'] }, 'stop'],
  [CLAUDE, { stop: ['END', ' '] }, 'stop'],
] as const)('%s refuses %o before the call, and the error names the parameter %s', async (model, changes, param) => {
  const parameterNames = { topP: 'top_p', temperature: 'temperature', stop: 'stop' };
  const error = await upstream.catchRefusal({ ...changes, parameterNames }, { model });
  expect(error).toMatchObject({ code: 'unsupported_value', param, recovery: 'nextTarget' });
});

it('a stop sequence with a line break beside other characters is sent to Claude', async () => {
  expect(await sendSampling(CLAUDE, { stop: ['\nUser:'] })).toEqual({ stopSequences: ['\nUser:'] });
});
