import { describe, expect, it } from 'vitest';
import { parseDeployOptions } from '../../../infra/deploy/options.ts';
import { parsePackageOptions, toOslsArguments } from '../../../infra/package-options.ts';

describe('parseDeployOptions', () => {
  it.each([
    [[], '--stage is missing'],
    [['dev'], "not 'dev'"],
    [['--stage', 'dev', '--region', 'mars'], '--region'],
    [['--stage', 'dev', '--param', 'chatProvisioned'], '--param'],
    [['--packaged', '--param', 'chatProvisioned=1'], '--packaged takes no --param'],
    [['--stage', 'dev', '--vault-key', 'key-1'], '--vault-key needs --adopt'],
  ])('parseDeployOptions rejects the arguments %s', (args, reason) => {
    expect(() => parseDeployOptions(args)).toThrow(
      expect.objectContaining({ name: 'UsageError', message: expect.stringContaining(reason) }),
    );
  });
});

describe('parsePackageOptions', () => {
  it('parsePackageOptions leaves out what serverless.yml sets by default', () => {
    expect(toOslsArguments(parsePackageOptions([]))).toEqual([]);
    const args = [
      '--stage',
      'prod',
      '--region',
      'us-east-1',
      '--param',
      'chatProvisioned=2',
      '--param',
      'warmHoldMs=0',
    ];
    expect(toOslsArguments(parsePackageOptions(args))).toEqual(args);
  });

  it.each([
    [['prod'], "not 'prod'"],
    [['--stage', 'my_stage'], '--stage'],
    [['--region', 'mars'], '--region'],
    [['--param', '=1'], '--param'],
  ])('parsePackageOptions rejects the arguments %s', (args, reason) => {
    expect(() => parsePackageOptions(args)).toThrow(
      expect.objectContaining({ name: 'UsageError', message: expect.stringContaining(reason) }),
    );
  });
});
