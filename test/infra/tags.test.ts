import { expect, it } from 'vitest';
import { addTags } from '../../infra/tags.ts';
import { findByType, packageStage } from './packaged.ts';

it('the resources of a stage have its tags and those of the setting', async () => {
  const template = await packageStage('--param', 'tags={"team":"search"}');
  for (const type of ['AWS::Lambda::Function', 'AWS::DynamoDB::Table', 'AWS::SQS::Queue', 'AWS::CloudWatch::Alarm'])
    for (const { properties } of findByType(template, type))
      expect(properties['Tags']).toEqual([
        { Key: 'lambent:service', Value: 'lambent' },
        { Key: 'lambent:stage', Value: 'dev' },
        { Key: 'team', Value: 'search' },
      ]);
});

it('a resource keeps its own tags, and a type without tags gets none', () => {
  const Resources = {
    Own: { Type: 'AWS::EC2::VPC', Properties: { Tags: [{ Key: 'Name', Value: 'own' }] } },
    Policy: { Type: 'AWS::SQS::QueuePolicy', Properties: {} },
  };
  expect(addTags({ Resources }, { Name: 'stage', team: 'search' }).Resources).toEqual({
    Own: {
      Type: 'AWS::EC2::VPC',
      Properties: {
        Tags: [
          { Key: 'Name', Value: 'own' },
          { Key: 'team', Value: 'search' },
        ],
      },
    },
    Policy: Resources.Policy,
  });
});

it('the tags reach the instances and disks of a group', () => {
  const tags = { team: 'search' };
  const Resources = {
    Group: { Type: 'AWS::AutoScaling::AutoScalingGroup', Properties: {} },
    Instance: {
      Type: 'AWS::EC2::LaunchTemplate',
      Properties: { LaunchTemplateData: { TagSpecifications: [{ ResourceType: 'volume', Tags: [] }] } },
    },
  };
  const tagged = addTags({ Resources }, tags).Resources;
  expect(tagged['Group']?.Properties).toEqual({ Tags: [{ Key: 'team', Value: 'search', PropagateAtLaunch: true }] });
  expect(tagged['Instance']?.Properties).toEqual({
    LaunchTemplateData: { TagSpecifications: [{ ResourceType: 'volume', Tags: [{ Key: 'team', Value: 'search' }] }] },
  });
});
