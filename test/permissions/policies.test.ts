import { describe, expect, it } from 'vitest';
import { isAllowed, listGrants } from './policies.ts';

const context = { 'kms:EncryptionContext:tenant': ['acme'], 'kms:EncryptionContextKeys': ['tenant', 'purpose'] };
const call = { action: 'kms:Decrypt', resource: 'arn:aws:kms:eu-west-1:1:key/a', context };
const grant = {
  role: 'ChatRole',
  sid: 'Vault',
  action: 'kms:Decrypt',
  resource: 'arn:aws:kms:*:1:key/?',
  conditions: {},
};

describe('isAllowed', () => {
  it('isAllowed compares action and resource, with wildcards in the grant only', () => {
    expect(isAllowed(grant, call)).toBe(true);
    expect(isAllowed(grant, { ...call, action: 'kms:Encrypt' })).toBe(false);
    expect(isAllowed(grant, { ...call, resource: 'arn:aws:kms:eu-west-1:1:key/ab' })).toBe(false);
    expect(isAllowed({ ...grant, resource: 'arn:aws:kms:x.*' }, { ...call, resource: 'arn:aws:kms:xy' })).toBe(false);
  });

  it.each([
    ['StringEquals', { 'kms:EncryptionContext:tenant': ['acme'] }, true],
    ['StringEquals', { 'kms:EncryptionContext:tenant': ['other'] }, false],
    ['StringEquals', { 'kms:ViaService': ['s3.eu-west-1.amazonaws.com'] }, false],
    ['Null', { 'kms:EncryptionContext:tenant': ['false'] }, true],
    ['Null', { 'kms:ViaService': ['false'] }, false],
    ['ForAllValues:StringEquals', { 'kms:EncryptionContextKeys': ['tenant', 'purpose', 'more'] }, true],
    ['ForAllValues:StringEquals', { 'kms:EncryptionContextKeys': ['tenant'] }, false],
    ['ForAllValues:StringEquals', { 'kms:ViaService': ['s3'] }, true],
    ['ForAllValues:StringLike', { 'kms:EncryptionContextKeys': ['t*', 'p*'] }, true],
    ['ForAllValues:StringLike', { 'kms:EncryptionContextKeys': ['t*'] }, false],
    ['ForAllValues:StringNotLike', { 'kms:EncryptionContextKeys': ['#*'] }, true],
    ['ForAllValues:StringNotLike', { 'kms:EncryptionContextKeys': ['p*'] }, false],
    ['ForAnyValue:StringEquals', { 'kms:EncryptionContextKeys': ['tenant'] }, true],
    ['ForAnyValue:StringEquals', { 'kms:ViaService': ['s3'] }, false],
    ['ArnEquals', { 'kms:EncryptionContext:tenant': ['a*'] }, true],
  ])('isAllowed evaluates %s %j as %s', (operator, keys, expected) => {
    expect(isAllowed({ ...grant, conditions: { [operator]: Object(keys) } }, call)).toBe(expected);
  });
});

describe('listGrants', () => {
  const list = (statement: object) =>
    listGrants(
      {
        Resources: {
          ChatRole: {
            Type: 'AWS::IAM::Role',
            Properties: { Policies: [{ PolicyDocument: { Statement: [statement] } }] },
          },
        },
      },
      (reference) => `<${reference}>`,
    );

  it('listGrants returns a grant for each action and resource, with references resolved', () => {
    const Resource = [{ 'Fn::GetAtt': ['JobsTable', 'Arn'] }, { 'Fn::Sub': `\${Bucket.Arn}/*` }, { Ref: 'Queue' }];
    const grants = list({ Effect: 'Allow', Action: ['s3:GetObject', 's3:PutObject'], Resource });
    expect(grants.map(({ action, resource }) => `${action} ${resource}`)).toEqual([
      ...['s3:GetObject <JobsTable.Arn>', 's3:GetObject <Bucket.Arn>/*', 's3:GetObject <Queue>'],
      ...['s3:PutObject <JobsTable.Arn>', 's3:PutObject <Bucket.Arn>/*', 's3:PutObject <Queue>'],
    ]);
  });

  it('listGrants refuses statements that isAllowed would not evaluate as IAM does', () => {
    const statement = { Effect: 'Allow', Action: 's3:GetObject', Resource: '*' };
    expect(() => list({ ...statement, Effect: 'Deny' })).toThrow(/not supported/);
    expect(() => list({ ...statement, NotAction: 's3:*' })).toThrow(/NotAction/);
    expect(() => list({ ...statement, Condition: { IpAddress: {} } })).toThrow(/IpAddress/);
  });
});
