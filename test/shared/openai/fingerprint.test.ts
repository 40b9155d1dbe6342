import { describe, expect, it } from 'vitest';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createSystemFingerprint } from '../../../shared/openai/fingerprint.ts';

const STACK = 'arn:aws:kms:eu-west-1:111122223333:key/9a1f6c1e-0f7e-4f0e-9f0c-3f5b9f1d2c3b';

const makeRegistry = (upstream: string) =>
  parseModelRegistry(
    JSON.stringify({ models: { default: { targets: [{ provider: 'bedrock', model: upstream }] } } }),
    'models.json',
  );

describe('the system fingerprint of a model', () => {
  const fingerprint = createSystemFingerprint(STACK, makeRegistry('amazon.nova-lite-v1:0'));

  it('is the same in each process of a stack', () => {
    expect(fingerprint('default')).toMatch(/^fp_[0-9a-f]{10}$/);
    expect(createSystemFingerprint(STACK, makeRegistry('amazon.nova-lite-v1:0'))('default')).toBe(
      fingerprint('default'),
    );
  });

  it('changes when the target of the model changes', () => {
    expect(createSystemFingerprint(STACK, makeRegistry('amazon.nova-pro-v1:0'))('default')).not.toBe(
      fingerprint('default'),
    );
  });

  it('differs between stacks with the same target, so that it can only be computed with the key of the stack', () => {
    expect(createSystemFingerprint('other', makeRegistry('amazon.nova-lite-v1:0'))('default')).not.toBe(
      fingerprint('default'),
    );
  });

  it('exists for a model that is no longer in the registry', () => {
    expect(fingerprint('removed')).toMatch(/^fp_[0-9a-f]{10}$/);
  });
});
