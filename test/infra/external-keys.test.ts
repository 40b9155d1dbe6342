import { expect, it } from 'vitest';
import { createExternalKeyPolicies } from '../../infra/external-keys.ts';
import { makeSettings } from './make-settings.ts';
import { findByType, packageStage } from './packaged.ts';

const listArns = (count: number) =>
  Array.from(
    { length: count },
    (_, index) =>
      `arn:aws:kms:ap-southeast-1:333333333333:key/11111111-2222-3333-4444-${String(index).padStart(12, '0')}`,
  );

it('without external keys, no permission is needed', () => {
  const absent = { Ref: 'AWS::NoValue' };
  expect(createExternalKeyPolicies({ externalKeys: [] }, 'lambent-dev')).toEqual({
    ...{ arns: '', open: absent, create: absent, administrate: absent, vaultKey: absent },
  });
});

it('as many external keys as the setting may name fit into the policies of roles and the variables of functions', async () => {
  const externalKeys = listArns(30).join(',');
  const template = await packageStage('--param', `externalKeys=${externalKeys}`);
  for (const { id, properties } of findByType(template, 'AWS::IAM::Role')) {
    const policies = [properties['Policies'] ?? []].flat();
    const characters = policies.map((policy) => JSON.stringify(Object(policy).PolicyDocument ?? '').length);
    expect(
      characters.reduce((sum, length) => sum + length, 0),
      id,
    ).toBeLessThan(10_240);
  }
  for (const { id, properties } of findByType(template, 'AWS::Lambda::Function'))
    expect(JSON.stringify(Object(properties['Environment']).Variables ?? {}).length, id).toBeLessThan(4_000);
  const tooMany = listArns(31).join(',');
  expect(() => makeSettings({ externalKeys: tooMany })).toThrow('externalKeys can name at most 30 keys');
});
