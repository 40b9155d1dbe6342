import { describe, expect, it } from 'vitest';
import {
  detectFamily,
  getBedrockCapabilities,
  parseClaudeVersion,
} from '../../../../../shared/inference/providers/bedrock/family.ts';
import { makeTarget } from './upstream.ts';

it.each([
  ['anthropic.claude-v2:1', 0],
  ['anthropic.claude-3-haiku-20240307-v1:0', 300],
  ['us.anthropic.claude-3-5-sonnet-20241022-v2:0', 305],
  ['us.anthropic.claude-3-7-sonnet-20250219-v1:0', 307],
  ['anthropic.claude-opus-4-20250514-v1:0', 400],
  ['anthropic.claude-opus-4-1-20250805-v1:0', 401],
  ['eu.anthropic.claude-sonnet-4-5-20250929-v1:0', 405],
  ['anthropic.claude-opus-4-6-v1', 406],
  ['arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-7', 407],
  ['anthropic.claude-fable-5-1', 501],
  ['anthropic.claude-mythos-preview', 407],
])('the version of the Claude model %s is %i', (model, version) => {
  expect(parseClaudeVersion(model)).toBe(version);
});

it.each([
  ['anthropic.claude-3-5-sonnet-20241022-v2:0', undefined],
  ['anthropic.claude-opus-4-20250514-v1:0', 'anthropic-budget'],
  ['anthropic.claude-sonnet-4-6', 'anthropic-adaptive'],
  ['amazon.nova-pro-v1:0', undefined],
  ['amazon.nova-2-lite-v1:0', 'nova-effort'],
  ['openai.gpt-oss-20b-1:0', 'openai-effort'],
  ['meta.llama3-1-8b-instruct-v1:0', undefined],
])('the model %s has the reasoning style %s', (model, style) => {
  expect(detectFamily(model).reasoning?.style).toBe(style);
});

describe('the default capabilities', () => {
  const getCapabilities = (model: string, fields: Record<string, unknown> = {}): ReadonlySet<string> =>
    getBedrockCapabilities(makeTarget({ model, ...fields }));

  it('a recent Claude model has all capabilities of Converse', () => {
    expect([...getCapabilities('eu.anthropic.claude-sonnet-4-5-20250929-v1:0')].sort()).toEqual([
      'documents',
      'images',
      'json',
      'jsonSchema',
      'reasoning',
      'singleToolCall',
      'stop',
      'strictJsonSchema',
      'strictTools',
      'tools',
    ]);
  });

  it('an older Claude model lacks the formats that Bedrock does not enforce', () => {
    expect(getCapabilities('anthropic.claude-3-5-sonnet-20241022-v2:0')).not.toContain('strictJsonSchema');
    expect(getCapabilities('anthropic.claude-3-5-sonnet-20241022-v2:0')).toContain('jsonSchema');
  });

  it.each(['openai.gpt-oss-120b-1:0', 'qwen.qwen3-32b-v1:0'])(
    'the model %s lacks the capability of stop sequences, which it refuses',
    (model) => {
      expect(getCapabilities(model)).not.toContain('stop');
    },
  );

  it.each(['eu.anthropic.claude-opus-4-7', 'global.anthropic.claude-opus-5'])(
    'the model %s enforces no schemas, because Bedrock refuses the fields for it',
    (model) => {
      const capabilities = getCapabilities(model);
      expect(capabilities).toContain('jsonSchema');
      for (const strict of ['strictTools', 'strictJsonSchema']) expect(capabilities).not.toContain(strict);
    },
  );

  it.each([
    ['us.meta.llama3-2-1b-instruct-v1:0', false],
    ['us.meta.llama3-2-11b-instruct-v1:0', true],
    ['us.deepseek.r1-v1:0', false],
    ['deepseek.v3-v1:0', true],
  ])('whether the model %s has tools is %s', (model, expected) => {
    expect(getCapabilities(model).has('tools')).toBe(expected);
  });

  it('a model that can only be forced to use a tool gives JSON by it', () => {
    expect(getCapabilities('mistral.mistral-large-2407-v1:0')).toContain('jsonSchema');
    expect(getCapabilities('us.meta.llama4-scout-17b-instruct-v1:0')).not.toContain('jsonSchema');
  });

  it('an application inference profile has few capabilities unless the registry declares them', () => {
    const profile = 'arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123';
    expect([...getCapabilities(profile)]).toEqual(['stop']);
    expect([...getCapabilities(profile, { capabilities: ['tools', 'seed'] })]).toEqual(['tools', 'seed']);
  });
});
