import { beforeAll, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { findByType, packageStage, walkObjects } from './packaged.ts';

let template: Template;
beforeAll(async () => {
  template = await packageStage();
});

const getValue = (name: string) => Object(template.Outputs?.[name]).Value;
const ref = (id: string) => ({ Ref: id });
const arn = (id: string) => ({ 'Fn::GetAtt': [id, 'Arn'] });

it('the outputs name each queue, table, key and topic, and the bucket', () => {
  for (const { id } of findByType(template, 'AWS::SQS::Queue')) {
    expect(getValue(`${id}Url`)).toEqual(ref(id));
    expect(getValue(`${id}Arn`)).toEqual(arn(id));
  }
  for (const { id } of findByType(template, 'AWS::DynamoDB::Table')) expect(getValue(`${id}Name`)).toEqual(ref(id));
  for (const { id } of findByType(template, 'AWS::KMS::Key')) {
    expect(getValue(`${id}Id`)).toEqual(ref(id));
    expect(getValue(`${id}Arn`)).toEqual(arn(id));
    expect(getValue(`${id}Alias`)).toEqual(ref(`${id}Alias`));
  }
  expect(getValue('BucketName')).toEqual(ref('Bucket'));
  expect(getValue('BucketArn')).toEqual(arn('Bucket'));
  expect(getValue('AlarmTopicArn')).toEqual(ref('AlarmTopic'));
});

it('the outputs name base URL, region, stage and version', () => {
  expect(getValue('BaseUrl')).toEqual({
    'Fn::Sub': `https://\${ApiGatewayRestApi}.execute-api.\${AWS::Region}.\${AWS::URLSuffix}/dev/v1`,
  });
  expect(getValue('Region')).toEqual(ref('AWS::Region'));
  expect(getValue('StageName')).toBe('dev');
  expect(getValue('Version')).toBe(packageJson.version);
});

it('each output refers to resources of the template and has a description', () => {
  for (const [name, output] of Object.entries(template.Outputs ?? {})) {
    const ids = [...walkObjects(output)].flatMap(
      ({ Ref, 'Fn::GetAtt': attribute }) => [Ref, attribute].flat()[0] ?? [],
    );
    for (const id of ids)
      if (!String(id).startsWith('AWS::')) expect(template.Resources, name).toHaveProperty([`${id}`]);
    if (!name.startsWith('Serverless')) expect(Object(output).Description, name).toMatch(/^[A-Z]/);
  }
});
