import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toAuthorizerContext } from '../../../shared/access/authorizer-context.ts';
import { createAllowPolicy } from '../../../shared/access/iam-policy.ts';
import { permitsModel } from '../../../shared/access/model-permissions.ts';
import type { Policy, Restrictions } from '../../../shared/access/policy.ts';
import { joinPolicy } from '../../../shared/access/policy-json.ts';
import { encodeRestrictions } from '../../../shared/access/policy-schema.ts';
import { TENANT_SCOPES } from '../../../shared/access/scopes.ts';

const makePattern = (changes: object) => ({ name: 'STAFF', pattern: 'E-\\d{5}', action: 'mask', ...changes });
const makeAlert = (changes: object) => ({ name: 'half', per: 'month', dollars: 50, ...changes });

describe('encodeRestrictions', () => {
  it('restrictions are stored as JSON, and their absence as nothing', () => {
    const restrictions: Restrictions = { models: { mode: 'deny', models: ['large'] } };
    expect(JSON.parse(encodeRestrictions('project', restrictions) ?? '')).toEqual(restrictions);
    expect(encodeRestrictions('project', {})).toBeUndefined();
  });

  it.each([{ abuse: {} }, { certificates: [{ key: 'AAAA', isAuthority: true, expiresAt: 1 }] }])(
    'a key has no section like %j',
    (restrictions) => {
      expect(() => encodeRestrictions('key', restrictions as Restrictions)).toThrow(
        'only projects and the organization have it',
      );
    },
  );

  it('rules for personal data are stored as they are', () => {
    const personalData = { all: 'mask', kinds: { ip: 'off' }, patterns: [makePattern({})], unsearchable: 'pass' };
    const json = encodeRestrictions('key', { personalData } as Restrictions);
    expect(JSON.parse(json ?? '')).toEqual({ personalData });
  });

  it.each([
    [{ models: { mode: 'forbid', models: [] } }, "Invalid 'models.mode': "],
    [{ models: { mode: 'allow', models: [''] } }, "Invalid 'models.models[0]': "],
    [{ retention: 'organization_default' }, "Invalid 'retention': "],
    [{ ipRanges: ['192.0.2.0/24'] }, "Invalid 'ipRanges': only a key has them."],
    [{ certificates: [] }, "Invalid 'certificates': "],
    [{ certificates: [{ key: '-', isAuthority: true, expiresAt: 1 }] }, "Invalid 'certificates[0].key': "],
    [{ limits: { requestsPerMinute: 0.5 } }, "Invalid 'limits.requestsPerMinute': "],
    [{ limits: { dollarsPerDay: 0.0000001 } }, "Invalid 'limits.dollarsPerDay': at most six decimals are allowed"],
    [{ limits: { alerts: [] } }, "Invalid 'limits.alerts': "],
    [{ limits: [] }, "Invalid 'limits': Expected an object"],
    [{ limits: { models: [] } }, "Invalid 'limits.models': Expected an object"],
    [{ limits: { models: { m: [] } } }, "Invalid 'limits.models.m': Expected an object"],
    [{ personalData: [] }, "Invalid 'personalData': Expected an object"],
    [{ personalData: { kinds: [] } }, "Invalid 'personalData.kinds': Expected an object"],
    [{ abuse: [] }, "Invalid 'abuse': Expected an object"],
    [{ limits: { alerts: [makeAlert({ name: 'a b' })] } }, "Invalid 'limits.alerts[0].name': "],
    [{ limits: { alerts: [makeAlert({ per: 'year' })] } }, "Invalid 'limits.alerts[0].per': "],
    [{ limits: { alerts: [makeAlert({ dollars: 0 })] } }, "Invalid 'limits.alerts[0].dollars': "],
    [
      { limits: { alerts: [makeAlert({}), makeAlert({ dollars: 2 })] } },
      "Invalid 'limits.alerts': Expected unique names",
    ],
    [
      { limits: { alerts: Array.from({ length: 11 }, (_, index) => makeAlert({ name: `a${index}` })) } },
      "Invalid 'limits.alerts': ",
    ],
    [{ personalData: { all: 'hide' } }, "Invalid 'personalData.all': "],
    [{ personalData: { patterns: [makePattern({ name: 'staff' })] } }, "Invalid 'personalData.patterns[0].name': "],
    [
      { personalData: { patterns: [makePattern({ pattern: '(a)\\1' })] } },
      "Invalid 'personalData.patterns[0].pattern': ",
    ],
    [{ personalData: { patterns: [makePattern({ pattern: 'a*' })] } }, "Invalid 'personalData.patterns[0].pattern': "],
    [{ personalData: { patterns: [makePattern({ pattern: '\\b' })] } }, "Invalid 'personalData.patterns[0].pattern': "],
    [{ personalData: { patterns: Array(11).fill(makePattern({})) } }, "Invalid 'personalData.patterns': "],
  ])('the restrictions %j are refused', (restrictions, message) => {
    expect(() => encodeRestrictions('project', restrictions as never)).toThrow(
      expect.objectContaining({ code: 'invalid_value', message: expect.stringContaining(message) }),
    );
  });

  it.each([
    [{ modles: { mode: 'deny', models: [] } }, 'modles'],
    [{ limits: { requestsPerHour: 1 } }, 'limits.requestsPerHour'],
    [{ personalData: { kinds: { mail: 'mask' } } }, 'personalData.kinds.mail'],
    [{ limits: { models: { m: { models: {} } } } }, 'limits.models.m.models'],
    [{ limits: { models: { m: { alerts: [makeAlert({})] } } } }, 'limits.models.m.alerts'],
  ])('the restrictions %j are refused, with the name of the unknown field', (restrictions, param) => {
    expect(() => encodeRestrictions('project', restrictions as never)).toThrow(
      expect.objectContaining({ code: 'unknown_parameter', param, message: `Unknown parameter: '${param}'.` }),
    );
  });

  it('restrictions without a required field are refused, with its name', () => {
    expect(() => encodeRestrictions('project', { models: { mode: 'allow' } } as never)).toThrow(
      expect.objectContaining({
        code: 'missing_required_parameter',
        message: "Missing required parameter: 'models.models'.",
      }),
    );
  });

  it('limits of single models are restrictions of a project only', () => {
    const restrictions = { limits: { models: { large: { dollarsPerMonth: 12.5, tokensPerMinute: 10 } } } };
    expect(JSON.parse(encodeRestrictions('project', restrictions) ?? '')).toEqual(restrictions);
    for (const level of ['account', 'key'] as const) {
      expect(() => encodeRestrictions(level, restrictions)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    }
  });

  it.each(['storedBytes', 'storedItems'] as const)('%s is a restriction of a project only', (name) => {
    const restrictions = { limits: { [name]: 1_000 } };
    expect(JSON.parse(encodeRestrictions('project', restrictions) ?? '')).toEqual(restrictions);
    for (const level of ['account', 'key'] as const) {
      const message = `Invalid 'limits.${name}': only a project has limits of what it stores.`;
      expect(() => encodeRestrictions(level, restrictions)).toThrow(
        expect.objectContaining({ code: 'invalid_value', message }),
      );
    }
  });

  it("a key has no retention, and the account no 'none', which the API has for projects only", () => {
    expect(encodeRestrictions('project', { retention: 'none' })).toBe('{"retention":"none"}');
    expect(encodeRestrictions('account', { retention: 'zero_data_retention' })).toContain('zero');
    for (const [level, retention] of [
      ['key', 'zero_data_retention'],
      ['account', 'none'],
    ] as const)
      expect(() => encodeRestrictions(level, { retention })).toThrow(
        expect.objectContaining({ code: 'invalid_value', param: 'retention' }),
      );
  });

  it('only a project can be read-only', () => {
    expect(encodeRestrictions('project', { readOnly: true })).toBe('{"readOnly":true}');
    for (const level of ['account', 'key'] as const)
      expect(() => encodeRestrictions(level, { readOnly: true })).toThrow(
        expect.objectContaining({ code: 'invalid_value', param: 'readOnly' }),
      );
  });

  it.each([
    ['project', 3_000],
    ['account', 3_000],
    ['key', 1_000],
  ] as const)('the restrictions of a %s have at most %i bytes, in which quotation marks count twice', (level, max) => {
    const make = (sizeBytes: number): Restrictions => {
      const models = Array.from({ length: 8 }, () => 'm'.repeat(50));
      const rest = sizeBytes - measure(JSON.stringify({ models: { mode: 'deny', models: [...models, ''] } }));
      const more = Array.from({ length: Math.floor(rest / 105) }, () => 'm'.repeat(100));
      return { models: { mode: 'deny', models: [...models, ...more, 'm'.repeat(rest % 105)] } };
    };
    expect(measure(encodeRestrictions(level, make(max)) ?? '')).toBe(max);
    expect(() => encodeRestrictions(level, make(max + 1))).toThrow(
      expect.objectContaining({
        code: 'invalid_value',
        message: `The restrictions of the ${level} have ${max + 1} bytes, counting quotation marks and backslashes twice; the maximum is ${max}.`,
      }),
    );
  });

  it.each<[string, (index: number) => string]>([
    ['short', (index) => String(index)],
    ['long', (index) => `${index}`.padStart(200, 'm')],
    ['made of quotation marks', (index) => `${index}""""`],
    ['made of backslashes', (index) => `${index}\\\\\\`],
    ['Chinese', (index) => `${index}\u7981`],
  ])(
    'the response of the authorizer has less than 8,000 bytes, however large the policy is: names are %s',
    (_, name) => {
      const fill = (level: keyof Policy): string => {
        let json = '';
        try {
          for (let length = 0; ; length += 1) {
            const models = Array.from({ length }, (_each, index) => name(index));
            json = encodeRestrictions(level, { models: { mode: 'allow', models } }) ?? '';
          }
        } catch {
          return json;
        }
      };
      const policy = joinPolicy({ account: fill('account'), project: fill('project'), key: fill('key') });
      const longest = 'x'.repeat(64);
      const caller = { tenant: longest, keyId: longest, scopes: ['models', 'inference', ...TENANT_SCOPES] };
      const context = toAuthorizerContext({ ...caller, expiresAt: 99_999_999_999, policy });
      const arn = `arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abcdefghij/${'s'.repeat(128)}/GET/v1/models`;
      const sizeBytes = Buffer.byteLength(JSON.stringify(createAllowPolicy(arn, `${longest}:${longest}`, context)));
      expect(sizeBytes).toBeLessThan(8_000);
      // Each level is as large as it may be.
      expect(sizeBytes).toBeGreaterThan(7_000);
    },
  );

  it('restrictions that an earlier version accepted may stay too large, but not grow', () => {
    const deny = (models: readonly string[]): Restrictions => ({ models: { mode: 'deny', models } });
    const names = Array.from({ length: 190 }, (_, index) => `m${index}`);
    const before = { ...deny(names), ipRanges: ['192.0.2.1'] };
    expect(() => encodeRestrictions('key', before)).toThrow('the maximum is 1000');
    expect(encodeRestrictions('key', before, before)).toBe(JSON.stringify(before));
    expect(encodeRestrictions('key', deny(names), before)).toBe(JSON.stringify(deny(names)));
    expect(encodeRestrictions('key', { ...before, ipRanges: ['192.0.2.2'] }, before)).toContain('192.0.2.2');
    const grown = { ...before, ipRanges: ['192.0.2.10'] };
    expect(() => encodeRestrictions('key', grown, before)).toThrow('the maximum is 1000');
  });
});

/** Returns the bytes of a text of ASCII characters within a string of JSON. */
function measure(text: string): number {
  return JSON.stringify(text).length - 2;
}

describe('permitsModel', () => {
  const allow = (...models: string[]): Restrictions => ({ models: { mode: 'allow', models } });
  const deny = (...models: string[]): Restrictions => ({ models: { mode: 'deny', models } });

  it.each([
    [{}, true],
    [{ project: allow('a', 'b') }, true],
    [{ project: allow('b') }, false],
    [{ project: allow() }, false],
    [{ account: deny('a') }, false],
    [{ account: deny('b'), project: allow('a'), key: {} }, true],
    [{ account: allow('a'), project: allow('a'), key: deny('a') }, false],
  ])('the policy %j permits the model a: %j', (policy, isPermitted) => {
    expect(permitsModel(policy, 'a')).toBe(isPermitted);
  });
});

/** Restrictions with an object in each place where one can be. */
const WHOLE: Restrictions = {
  models: { mode: 'deny', models: ['large'] },
  limits: { requestsPerMinute: 1, models: { small: { tokensPerDay: 1 } } },
  personalData: { kinds: { ip: 'off' }, patterns: [{ name: 'STAFF', pattern: 'E-\\d\\d', action: 'mask' }] },
  contentRules: [
    { id: 'words', terms: ['falcon'] },
    { id: 'ticket', pattern: 'TCK-\\d\\d' },
  ],
  guardrail: { name: 'strict' },
};

it('a field with the name of an inherited one is refused, wherever it is', () => {
  const json = JSON.stringify(WHOLE);
  expect(encodeRestrictions('project', WHOLE)).toBe(json);
  const starts = [...json.matchAll(/\{/g)].map(({ index }) => index + 1);
  const names = [...Object.getOwnPropertyNames(Object.prototype), 'prototype'];
  const values = fc.constantFrom('1', '"off"', '[]', '{"requestsPerDay":1}', '{"mode":"deny","models":["large"]}');
  fc.assert(
    fc.property(fc.constantFrom(...starts), fc.constantFrom(...names), values, (start, name, value) => {
      const changed = `${json.slice(0, start)}"${name}":${value},${json.slice(start)}`;
      expect(() => encodeRestrictions('project', JSON.parse(changed)), changed).toThrow(
        expect.objectContaining({ code: 'invalid_value', message: expect.stringContaining(`${name}': no field`) }),
      );
    }),
    { numRuns: 500 },
  );
});
