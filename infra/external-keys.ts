import { CHECK_TENANT } from '../shared/vault/wrapping-key.ts';
import type { Settings } from './settings-schema.ts';

type Absent = { readonly Ref: 'AWS::NoValue' };
interface Policy {
  readonly PolicyName: 'external-keys';
  readonly PolicyDocument: { readonly Version: '2012-10-17'; readonly Statement: readonly object[] };
}

/** The settings and permissions by which functions use customers' own KMS keys. */
interface ExternalKeyPolicies {
  /** `EXTERNAL_KEYS` of the function that administers them. */
  readonly arns: string;
  /** For roles that open sealed records. */
  readonly open: Policy | Absent;
  /** For roles that also create tenants' keys. */
  readonly create: Policy | Absent;
  /** For the role that changes the KMS key of tenants' keys. It sees no tenant key in plain form, except new ones. */
  readonly administrate: Policy | Absent;
  /** The statement of the vault key's policy for that role. */
  readonly vaultKey: object | Absent;
}

const ABSENT: Absent = { Ref: 'AWS::NoValue' };
const OF_TENANTS = {
  StringEquals: { 'kms:EncryptionContext:purpose': 'sealed-records' },
  Null: { 'kms:EncryptionContext:tenant': 'false' },
};
const OF_CHECK = {
  StringEquals: { ...OF_TENANTS.StringEquals, 'kms:EncryptionContext:tenant': CHECK_TENANT },
};
const ONLY_TENANT = { 'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': ['tenant', 'purpose'] } };
const REWRAP = ['kms:ReEncryptFrom', 'kms:ReEncryptTo'];

/**
 * Returns the policies for exactly the keys of the setting `externalKeys`. Without keys, all of them are absent.
 * @param prefix the service and stage: `lambent-dev`
 */
export function createExternalKeyPolicies(
  { externalKeys }: Pick<Settings, 'externalKeys'>,
  prefix: string,
): ExternalKeyPolicies {
  if (externalKeys.length === 0)
    return { arns: '', open: ABSENT, create: ABSENT, administrate: ABSENT, vaultKey: ABSENT };
  const use = (Action: readonly string[], Sid = 'ExternalKeys', context: object = OF_TENANTS) => ({
    ...{ Sid, Effect: 'Allow', Action, Resource: externalKeys.toSorted() },
    Condition: { ...context, ...ONLY_TENANT },
  });
  const vaultKey = {
    Effect: 'Allow',
    Action: REWRAP,
    // The key is named by its alias: its policy refers to the role, so a reference to the key would be a cycle, which
    // CloudFormation refuses.
    Resource: { 'Fn::Sub': `arn:\${AWS::Partition}:kms:\${AWS::Region}:\${AWS::AccountId}:key/*` },
    Condition: {
      ...OF_TENANTS,
      ...ONLY_TENANT,
      'ForAnyValue:StringEquals': { 'kms:ResourceAliases': `alias/${prefix}-vault` },
    },
  };
  const tenantKeys = {
    Sid: 'TenantKeys',
    Effect: 'Allow',
    Action: ['dynamodb:PutItem', 'dynamodb:UpdateItem'],
    Resource: { 'Fn::GetAtt': ['KeysTable', 'Arn'] },
  };
  return {
    arns: externalKeys.join(','),
    open: createPolicy([use(['kms:Decrypt'])]),
    create: createPolicy([use(['kms:Decrypt', 'kms:GenerateDataKey'])]),
    administrate: createPolicy([
      use(['kms:GenerateDataKey', ...REWRAP]),
      use(['kms:Decrypt'], 'CheckedKeys', OF_CHECK),
      { Sid: 'VaultKey', ...vaultKey },
      tenantKeys,
    ]),
    vaultKey: {
      Sid: 'RewrapTenantKeys',
      Effect: 'Allow',
      Principal: { AWS: { 'Fn::Sub': `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:root` } },
      Action: REWRAP,
      Resource: '*',
      Condition: { ...OF_TENANTS, ArnEquals: { 'aws:PrincipalArn': { 'Fn::GetAtt': ['AdminRole', 'Arn'] } } },
    },
  };
}

function createPolicy(Statement: readonly object[]): Policy {
  return { PolicyName: 'external-keys', PolicyDocument: { Version: '2012-10-17', Statement } };
}
