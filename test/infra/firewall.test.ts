import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { makeSettings } from './make-settings.ts';
import { findByType, packageStage, walkObjects } from './packaged.ts';

interface Rule {
  readonly Name: string;
  readonly Priority: number;
  readonly Action?: object;
  readonly OverrideAction?: object;
  readonly Statement: {
    readonly RateBasedStatement?: object;
    readonly ManagedRuleGroupStatement?: {
      readonly Name: string;
      readonly RuleActionOverrides?: readonly { readonly Name: string; readonly ActionToUse: object }[];
    };
  };
}

/**
 * The rules that inspect bodies, by the groups' documentation.
 * https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
 */
const BODY_RULES: Readonly<Record<string, readonly string[]>> = {
  AWSManagedRulesKnownBadInputsRuleSet: ['JavaDeserializationRCE_BODY', 'Log4JRCE_BODY', 'ReactJSRCE_BODY'],
  AWSManagedRulesCommonRuleSet: [
    ...['CrossSiteScripting_BODY', 'EC2MetaDataSSRF_BODY', 'GenericLFI_BODY', 'GenericRFI_BODY'],
    'SizeRestrictions_BODY',
  ],
};

let off: Template;
let on: Template;
beforeAll(async () => {
  [off, on] = await Promise.all([
    packageStage(),
    packageStage('--param', 'firewall=true', '--param', 'firewallRate=500'),
  ]);
});

const listRules = () => Object(on.Resources['Firewall']?.Properties).Rules as Rule[];

describe('the firewall', () => {
  it('the firewall is absent by default, because it costs money when idle', () => {
    expect(Object.values(off.Resources).filter(({ Type }) => Type.startsWith('AWS::WAFv2::'))).toEqual([]);
  });

  it("the firewall inspects the requests of the API's stage", () => {
    const [association] = findByType(on, 'AWS::WAFv2::WebACLAssociation');
    expect(association?.properties).toEqual({
      ResourceArn: {
        'Fn::Sub': `arn:\${AWS::Partition}:apigateway:\${AWS::Region}::/restapis/\${ApiGatewayRestApi}/stages/\${ApiGatewayStage}`,
      },
      WebACLArn: { 'Fn::GetAtt': ['Firewall', 'Arn'] },
    });
    expect(on.Resources['Firewall']?.Properties).toMatchObject({ Scope: 'REGIONAL', DefaultAction: { Allow: {} } });
  });

  it('the firewall limits the requests of one address in 5 minutes', () => {
    expect(listRules()[0]).toMatchObject({
      Priority: 0,
      Action: { Block: {} },
      Statement: { RateBasedStatement: { AggregateKeyType: 'IP', EvaluationWindowSec: 300, Limit: '500' } },
    });
  });

  it('the firewall has rules with priorities of their own, and applies the actions of managed groups', () => {
    const rules = listRules();
    expect(new Set(rules.map(({ Priority }) => Priority)).size).toBe(rules.length);
    for (const { OverrideAction } of rules.slice(1)) expect(OverrideAction).toEqual({ None: {} });
  });

  it('the firewall only counts what it finds in bodies, because prompts may contain anything', () => {
    const groups = listRules().flatMap(({ Statement }) => Statement.ManagedRuleGroupStatement ?? []);
    for (const [group, names] of Object.entries(BODY_RULES)) {
      const overrides = groups.find(({ Name }) => Name === group)?.RuleActionOverrides ?? [];
      for (const name of names) expect(overrides, name).toContainEqual({ Name: name, ActionToUse: { Count: {} } });
    }
  });

  it('the firewall keeps no samples of requests, which contain API keys', () => {
    const configurations = [...walkObjects(on.Resources['Firewall'])].filter(
      (value) => 'SampledRequestsEnabled' in value,
    );
    expect(configurations.length).toBe(listRules().length + 1);
    for (const configuration of configurations) expect(configuration['SampledRequestsEnabled']).toBe(false);
  });

  it('a rate that WAF does not accept is rejected', () => {
    expect(() => makeSettings({ firewallRate: 9 })).toThrow('must be a whole number, 10 to 2000000000');
  });
});
