import type { Stage } from './settings.ts';
import type { Template, TemplateResource } from './template.ts';

/** Values by key. */
export type Tags = Readonly<Record<string, string>>;

/** Returns the tags of the stage's resources: service and stage, for bills and policies, and those of the setting `tags`. */
export function createTags({ service, stage, settings }: Stage): Tags {
  return { 'lambent:service': service, 'lambent:stage': stage, ...settings.tags };
}

/** The types in our templates that have a property `Tags`. `npm run check` compares them with CloudFormation's schemas. */
const TAGGED: ReadonlySet<string> = new Set(
  [
    ...['ApiGateway::DomainName', 'ApiGateway::RestApi', 'ApiGateway::Stage', 'ApplicationAutoScaling::ScalableTarget'],
    ...['AutoScaling::AutoScalingGroup', 'CloudWatch::Alarm', 'DynamoDB::Table', 'EC2::EIP', 'EC2::FlowLog'],
    ...['EC2::InternetGateway', 'EC2::NatGateway', 'EC2::RouteTable', 'EC2::SecurityGroup', 'EC2::Subnet', 'EC2::VPC'],
    ...['EC2::VPCEndpoint', 'ECS::CapacityProvider', 'ECS::Cluster', 'ECS::Service', 'ECS::TaskDefinition'],
    ...['Events::Rule', 'IAM::Role', 'KMS::Key', 'Lambda::CapacityProvider', 'Lambda::EventSourceMapping'],
    ...['Lambda::Function', 'Logs::LogGroup'],
    ...['S3::Bucket', 'SNS::Topic', 'SQS::Queue', 'WAFv2::WebACL'],
  ].map((type) => `AWS::${type}`),
);

/** Returns the template with the tags on each resource that takes them. A resource's own tags take precedence. */
export function addTags<T extends Template>(template: T, tags: Tags): T {
  const entries = Object.entries(template.Resources).map(([id, resource]) => [id, tagResource(resource, tags)]);
  return { ...template, Resources: Object.fromEntries(entries) };
}

function tagResource(resource: TemplateResource, tags: Tags): TemplateResource {
  const { Type, Properties = {} } = resource;
  if (Type === 'AWS::EC2::LaunchTemplate') {
    const data = Object(Properties['LaunchTemplateData']);
    const TagSpecifications = data.TagSpecifications.map((created: object) => withTags(created, tags));
    return { ...resource, Properties: { ...Properties, LaunchTemplateData: { ...data, TagSpecifications } } };
  }
  if (!TAGGED.has(Type)) return resource;
  // A group's instances get its tags only if they are propagated.
  const more = Type === 'AWS::AutoScaling::AutoScalingGroup' ? { PropagateAtLaunch: true } : {};
  return { ...resource, Properties: withTags(Properties, tags, more) };
}

function withTags<T extends { readonly Tags?: unknown }>(tagged: T, tags: Tags, more = {}): T {
  const own: readonly unknown[] = [tagged.Tags ?? []].flat();
  const missing = Object.entries(tags).filter(([Key]) => !own.some((tag) => Object(tag).Key === Key));
  return { ...tagged, Tags: [...own, ...missing.map(([Key, Value]) => ({ Key, Value, ...more }))] };
}
