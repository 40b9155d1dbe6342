import { describe, expect, it } from 'vitest';
import { createConditions, evaluateConditions } from '../../infra/conditions.ts';
import { makeSettings } from './make-settings.ts';

const WEIGHTS_IMAGE =
  'public.ecr.aws/aws-cli/aws-cli@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef';
const GPU_IMAGE = '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0';
const Conditions = { On: { 'Fn::Equals': ['true', 'true'] }, Off: { 'Fn::Equals': ['false', 'true'] } };
const resource = (more: object) => ({ Type: 'AWS::SNS::Topic', ...more });

describe('evaluateConditions', () => {
  it('evaluateConditions removes resources whose condition is false, and the conditions themselves', () => {
    const Resources = { A: resource({ Condition: 'On' }), B: resource({ Condition: 'Off' }), C: resource({}) };
    expect(evaluateConditions({ Conditions, Resources })).toEqual({ Resources: { A: resource({}), C: resource({}) } });
  });

  it('evaluateConditions replaces an Fn::If by the branch that applies, and removes AWS::NoValue', () => {
    const choose = (name: string) => ({ 'Fn::If': [name, { Ref: 'A' }, { Ref: 'AWS::NoValue' }] });
    const Properties = { Kept: choose('On'), Dropped: choose('Off'), List: [choose('Off'), choose('On'), 'plain'] };
    expect(evaluateConditions({ Conditions, Resources: { A: resource({ Properties }) } })).toEqual({
      Resources: { A: resource({ Properties: { Kept: { Ref: 'A' }, List: [{ Ref: 'A' }, 'plain'] } }) },
    });
  });

  it('evaluateConditions removes dependencies on resources that it removes, and keeps others, also misspelt ones', () => {
    const Resources = {
      A: resource({ DependsOn: ['B', 'C', 'Misspelt'] }),
      B: resource({ Condition: 'Off' }),
      C: resource({ DependsOn: 'B' }),
    };
    expect(evaluateConditions({ Conditions, Resources }).Resources).toEqual({
      A: resource({ DependsOn: ['C', 'Misspelt'] }),
      C: resource({ DependsOn: [] }),
    });
  });

  it('evaluateConditions removes outputs whose condition is false', () => {
    const Outputs = { A: { Condition: 'On', Value: 'a' }, B: { Condition: 'Off', Value: 'b' }, C: { Value: 'c' } };
    expect(evaluateConditions({ Conditions, Resources: {}, Outputs }).Outputs).toEqual({
      A: { Value: 'a' },
      C: { Value: 'c' },
    });
  });

  it('evaluateConditions keeps everything else unchanged', () => {
    const template = {
      Description: 'text',
      Resources: { A: resource({ Properties: { N: 1, B: false, S: '', L: [] } }) },
    };
    expect(evaluateConditions({ ...template, Conditions })).toEqual(template);
  });

  it('evaluateConditions rejects a resource with an unknown condition', () => {
    expect(() => evaluateConditions({ Conditions, Resources: { A: resource({ Condition: 'Of' }) } })).toThrow(
      /no condition Of/,
    );
  });
});

it.each([
  ['accessLog', 'false', 'AccessLog', false],
  ['accessLog', true, 'AccessLog', true],
  ['alarmEmail', 'ops@example.com', 'AlarmEmail', true],
  ['chatProvisioned', '0', 'ChatProvisioned', false],
  ['chatProvisioned', '2', 'ChatProvisioned', true],
  ['authorizeProvisioned', 1, 'AuthorizeProvisioned', true],
  ['sessionsProvisioned', 1, 'SessionsProvisioned', true],
  ['responsesProvisioned', 1, 'ResponsesProvisioned', true],
  ['gpuFleet', '', 'GpuFleet', false],
  ['gpuFleet', 'qwen', 'GpuFleet', true],
  ['gpuEgress', 'endpoints', 'GpuNat', false],
  ['gpuEgress', 'endpoints', 'GpuEndpoints', true],
  ['gpuZones', '3', 'GpuThirdZone', true],
  ['gpuZones', 3, 'GpuThirdZoneNat', true],
  ['gpuWorkingMin', '1', 'GpuWorkingHours', true],
] as const)('the setting %s=%s makes the condition %s evaluate to %s', (setting, value, condition, holds) => {
  const { Conditions } = createConditions(
    makeSettings({
      gpuImage: GPU_IMAGE,
      gpuWeights: 's3://models/qwen3-8b',
      gpuWeightsImage: WEIGHTS_IMAGE,
      [setting]: value,
    }),
    false,
  );
  expect(Conditions[condition]).toEqual({ 'Fn::Equals': [String(holds), 'true'] });
});
