import { describe, expect, it } from 'vitest';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';

function buildRegistry(fleets: Record<string, { workers: readonly { id: string; url: string }[] }>) {
  const models = { gpu: { targets: [{ provider: 'gpu', model: 'm', fleet: 'qwen' }] } };
  return parseModelRegistry(JSON.stringify({ models, fleets }), 'models.json');
}

const W1 = { id: 'w1', url: 'http://w1:8000/v1' };

describe('parseModelRegistry', () => {
  it.each([
    [{ targets: [{ provider: 'bedrock', model: 'm', weigth: 2 }] }, 'targets.0.weigth: is not a field of this object'],
    [{ targets: [{ provider: 'openai-compatible', model: 'm' }] }, 'targets.0.baseUrl: is missing'],
    [
      { targets: [{ provider: 'bedrock', model: 'm' }], outputLimit: 'cut' },
      'outputLimit: Invalid type: Expected ("clamp" | "refuse") but received "cut"',
    ],
  ])('the error for the model %j says what is wrong with which field', (model, problem) => {
    const parse = () => parseModelRegistry(JSON.stringify({ models: { default: model } }), 'models.json');
    expect(parse).toThrow(`models.json is not valid:\n  models.default.${problem}`);
  });
});

describe('the workers of a fleet', () => {
  it('workers of two fleets may have the same ids and addresses', () => {
    const { fleets } = buildRegistry({
      qwen: { workers: [W1, { id: 'w2', url: 'http://w2:8000/v1' }] },
      llama: { workers: [W1] },
    });
    expect(fleets['qwen']?.workers).toHaveLength(2);
  });

  it("two workers of a fleet can't have the same id", () => {
    const workers = [W1, { id: 'w2', url: 'http://w2:8000/v1' }, { id: 'w1', url: 'http://w3:8000/v1' }];
    expect(() => buildRegistry({ qwen: { workers } })).toThrow(
      /^models\.json is not valid:\n {2}fleets\.qwen\.workers\.2\.id: another worker has the id w1$/,
    );
  });

  it("two workers of a fleet can't have the same address, even in different notations", () => {
    const workers = [W1, { id: 'w2', url: 'HTTP://W1:8000/v1/' }];
    expect(() => buildRegistry({ qwen: { workers } })).toThrow(/fleets\.qwen\.workers\.1\.url: .*\bw2\b/);
  });
});

describe('guardrails and moderations of the registry', () => {
  const parse = (sections: object) =>
    parseModelRegistry(
      JSON.stringify({ models: { default: { targets: [{ provider: 'bedrock', model: 'm' }] } }, ...sections }),
      'test',
    );

  it('guardrails and moderation models are parsed, and there are none by default', () => {
    const guardrails = { strict: { id: 'abc', version: '3', region: 'eu-west-1' } };
    const moderations = {
      one: { guardrail: 'strict' },
      two: { model: 'm', baseUrl: 'https://api.example.com/v1', apiKey: 'env:KEY' },
    };
    expect(parse({ guardrails, moderations })).toMatchObject({ guardrails, moderations });
    expect(parse({})).toMatchObject({ guardrails: {}, moderations: {} });
  });

  it.each<[object, string]>([
    [{ moderations: { one: { guardrail: 'strict' } } }, 'moderations.one: the guardrail strict does not exist'],
    [{ moderations: { one: {} } }, 'must have either `guardrail`, or `model` and `baseUrl`'],
    [{ moderations: { one: { model: 'm', baseUrl: 'ftp://x' } } }, 'moderations.one'],
    [{ guardrails: { strict: { id: 'abc', version: 'latest' } } }, 'must be a version number or DRAFT'],
    [{ guardrails: { strict: { id: 'abc', version: '1', region: 'here' } } }, 'must be an AWS region'],
  ])('the sections %j are refused', (sections, problem) => {
    expect(() => parse(sections)).toThrow(problem);
  });
});

it.each(['__proto__', 'constructor', 'toString'])('a field with the inherited name %s is refused', (name) => {
  const model = '{"targets":[{"provider":"bedrock","model":"m"}]}';
  for (const text of [
    `{"models":{"a":${model},"${name}":${model}}}`,
    `{"models":{"a":${model}},"moderations":{"${name}":{"model":"m","baseUrl":"http://127.0.0.1"}}}`,
    `{"models":{"a":${model}},"${name}":{}}`,
  ])
    expect(() => parseModelRegistry(text, 'models.json')).toThrow(`${name}: no field can have this name`);
});
