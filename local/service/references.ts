import * as v from 'valibot';
import { LambentError } from '../../shared/core/errors.ts';
import { ACCOUNT_ID, buildFunctionArn } from '../lambda/function.ts';
import type { ResourceDefinition } from './definition.ts';
import type { Service } from './service.ts';

/** A resource's local values: its `Ref`, and the attributes that `Fn::GetAtt` supports. */
interface Resource {
  readonly ref: string;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface References {
  /**
   * Replaces CloudFormation's intrinsic functions (`Ref`, `Fn::GetAtt`, `Fn::Sub`, `Fn::Join`) in a value with their
   * local values.
   * @param where path of the value, for error messages: `functions.chat.environment.TABLE`
   * @throws LambentError `configuration` if a reference has no local value
   */
  resolve(value: unknown, where: string): unknown;
  /** Returns the name of a table, queue or bucket: the defined name, or a name derived from the logical id. */
  getName(logicalId: string): string;
}

/**
 * Creates the resolver of a service's references.
 * @param queuesUrl URL of the SQS stand-in, with which each queue's URL begins
 * @param keyArns ARNs of the KMS stand-in's keys, by logical id
 */
export function createReferences(
  service: Service,
  queuesUrl: string,
  keyArns: Readonly<Record<string, string>> = {},
): References {
  const { region, resources, functions } = service;
  const pseudo: Readonly<Record<string, string>> = {
    'AWS::Region': region,
    'AWS::AccountId': ACCOUNT_ID,
    'AWS::Partition': 'aws',
    'AWS::URLSuffix': 'amazonaws.com',
    'AWS::StackName': `${service.name}-${service.stage}`,
  };
  const byFunctionId = new Map(functions.map((each) => [`${capitalize(each.name)}LambdaFunction`, each.functionName]));

  const getName = (logicalId: string): string => {
    const { TableName, QueueName, BucketName } = resources[logicalId]?.Properties ?? {};
    const name = TableName ?? QueueName ?? BucketName;
    if (name !== undefined) return String(resolve(name, `resources.${logicalId}`));
    const derived = `${service.name}-${service.stage}-${logicalId}`;
    // Bucket names must be lowercase.
    return resources[logicalId]?.Type === 'AWS::S3::Bucket' ? derived.toLowerCase() : derived;
  };

  function find(logicalId: string): Resource | undefined {
    const functionName = byFunctionId.get(logicalId);
    if (functionName !== undefined)
      return { ref: functionName, attributes: { Arn: buildFunctionArn(region, functionName) } };
    const alias = byFunctionId.get(logicalId.replace(/ProvConcLambdaAlias$/, 'LambdaFunction'));
    if (alias !== undefined) return { ref: buildFunctionArn(region, alias, 'provisioned'), attributes: {} };
    if (logicalId === 'ApiGatewayRestApi') return { ref: 'local', attributes: {} };
    const keyArn = keyArns[logicalId];
    if (keyArn !== undefined) return describeKey(keyArn);
    const resource = resources[logicalId];
    return resource && describeResource(resource, getName(logicalId), region, queuesUrl);
  }

  function resolve(value: unknown, where: string): unknown {
    const refuse = (reference: string): never => {
      throw new LambentError('configuration', `${where}: the local cloud has no value for ${reference}`);
    };
    const ref = (name: string): string => pseudo[name] ?? find(name)?.ref ?? refuse(name);
    const attribute = (name: string, key: string): string => find(name)?.attributes[key] ?? refuse(`${name}.${key}`);

    if (Array.isArray(value)) return value.map((item) => resolve(item, where));
    if (typeof value !== 'object' || value === null) return value;
    const intrinsic = v.safeParse(intrinsicSchema, value);
    if (!intrinsic.success) {
      const unknown = Object.keys(value).find((key) => key.startsWith('Fn::'));
      if (unknown !== undefined) return refuse(unknown);
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, where)]));
    }
    const { output } = intrinsic;
    if ('Ref' in output) return ref(output.Ref);
    if ('Fn::GetAtt' in output) {
      const [name = '', ...key] = [output['Fn::GetAtt']].flat().join('.').split('.');
      return attribute(name, key.join('.'));
    }
    if ('Fn::Join' in output) {
      const [separator, parts] = output['Fn::Join'];
      return parts.map((part) => String(resolve(part, where))).join(separator);
    }
    return output['Fn::Sub'].replace(/\$\{([\w:.]+)\}/g, (_, name: string) => {
      const dot = name.indexOf('.');
      return dot === -1 ? ref(name) : attribute(name.slice(0, dot), name.slice(dot + 1));
    });
  }

  return { resolve, getName };
}

const intrinsicSchema = v.union([
  v.strictObject({ Ref: v.string() }),
  v.strictObject({ 'Fn::GetAtt': v.union([v.string(), v.array(v.string())]) }),
  v.strictObject({ 'Fn::Join': v.tuple([v.string(), v.array(v.unknown())]) }),
  v.strictObject({ 'Fn::Sub': v.string() }),
]);

/** Returns a resource's local values, or undefined if the local cloud doesn't have its type. */
function describeResource(
  { Type, Properties }: ResourceDefinition,
  name: string,
  region: string,
  queuesUrl: string,
): Resource | undefined {
  const arn = (service: string, rest: string): string => `arn:aws:${service}:${region}:${ACCOUNT_ID}:${rest}`;
  switch (Type) {
    case 'AWS::DynamoDB::Table':
      return { ref: name, attributes: { Arn: arn('dynamodb', `table/${name}`) } };
    case 'AWS::SQS::Queue':
      return {
        ref: `${queuesUrl}/${ACCOUNT_ID}/${name}`,
        attributes: { Arn: arn('sqs', name), QueueName: name, QueueUrl: `${queuesUrl}/${ACCOUNT_ID}/${name}` },
      };
    case 'AWS::S3::Bucket':
      return { ref: name, attributes: { Arn: `arn:aws:s3:::${name}` } };
    case 'AWS::KMS::Alias':
      return { ref: String(Properties['AliasName']), attributes: {} };
    default:
      return undefined;
  }
}

function describeKey(arn: string): Resource {
  const id = arn.slice(arn.lastIndexOf('/') + 1);
  return { ref: id, attributes: { Arn: arn, KeyId: id } };
}

function capitalize(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
