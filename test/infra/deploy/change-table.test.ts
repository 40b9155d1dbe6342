import { expect, it } from 'vitest';
import type { ResourceChange } from '../../../infra/deploy/change-set.ts';
import { findLostData, formatChanges } from '../../../infra/deploy/change-table.ts';

const createChange = (id: string, type: string, change: Partial<ResourceChange>): ResourceChange => ({
  ...{ id, type, action: 'Modify', replacement: 'no', properties: [] },
  ...change,
});
const changes = [
  createChange('ChatLambdaFunction', 'AWS::Lambda::Function', { properties: ['Code', 'MemorySize'] }),
  createChange('ChatRole', 'AWS::IAM::Role', { replacement: 'yes' }),
  createChange('JobsTable', 'AWS::DynamoDB::Table', { replacement: 'yes', properties: ['KeySchema'] }),
  createChange('KeysTable', 'AWS::DynamoDB::Table', { properties: ['Tags'] }),
  createChange('VaultKey', 'AWS::KMS::Key', { replacement: 'perhaps' }),
  createChange('Bucket', 'AWS::S3::Bucket', { action: 'Remove' }),
  createChange('NewTable', 'AWS::DynamoDB::Table', { action: 'Add' }),
];

it('a change loses data if it removes or may replace a table, a key or a bucket', () => {
  expect(findLostData(changes).map(({ id }) => id)).toEqual(['JobsTable', 'VaultKey', 'Bucket']);
});

it('the table of changes marks lost data, which comes first', () => {
  expect(formatChanges(changes.slice(0, 3), changes.slice(2, 3))).toEqual([
    'action  resource            type                   replaced  changes',
    'Modify  JobsTable (DATA)    AWS::DynamoDB::Table   yes       KeySchema',
    'Modify  ChatLambdaFunction  AWS::Lambda::Function  no        Code, MemorySize',
    'Modify  ChatRole            AWS::IAM::Role         yes',
  ]);
});
