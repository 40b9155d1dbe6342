import * as v from 'valibot';
import { LambentError } from '../../shared/core/errors.ts';
import { ACCOUNT_ID, buildFunctionArn } from '../lambda/function.ts';
import type { ResourceDefinition } from './definition.ts';
import type { Service } from './service.ts';

/** What a resource is on the laptop: the value of its `Ref`, and of each attribute that `Fn::GetAtt` may ask for. */
interface Resource {
  readonly ref: string;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface References {
  /**
   * Replaces CloudFormation's intrinsic functions (`Ref`, `Fn::GetAtt`, `Fn::Sub`, `Fn::Join`) in a value by what they
   * are on the laptop.
   * @param where names the value in an error: `functions.chat.environment.TABLE`
   * @throws LambentError `configuration` for one that has no meaning here
   */
  resolve(value: unknown, where: string): unknown;
  /** The name of a table, a queue or a bucket: its own, or one made of its logical id. */
  nameOf(logicalId: string): string;
}

/**
 * Prepares the references of a service.
 * @param queuesUrl URL of the SQS stand-in, which is part of each queue's own
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
  const byFunctionId = new Map(functions.map((each) => [`${capitalized(each.name)}LambdaFunction`, each.functionName]));

  const nameOf = (logicalId: string): string => {
    const { TableName, QueueName, BucketName } = resources[logicalId]?.Properties ?? {};
    const name = TableName ?? QueueName ?? BucketName;
    if (name !== undefined) return String(resolve(name, `resources.${logicalId}`));
    const made = `${service.name}-${service.stage}-${logicalId}`;
    // A bucket's name has no capitals.
    return resources[logicalId]?.Type === 'AWS::S3::Bucket' ? made.toLowerCase() : made;
  };

  function find(logicalId: string): Resource | undefined {
    const functionName = byFunctionId.get(logicalId);
    if (functionName !== undefined)
      return { ref: functionName, attributes: { Arn: buildFunctionArn(region, functionName) } };
    const alias = byFunctionId.get(logicalId.replace(/ProvConcLambdaAlias$/, 'LambdaFunction'));
    if (alias !== undefined) return { ref: buildFunctionArn(region, alias, 'provisioned'), attributes: {} };
    if (logicalId === 'ApiGatewayRestApi') return { ref: 'local', attributes: {} };
    const keyArn = keyArns[logicalId];
    if (keyArn !== undefined) return keyOf(keyArn);
    const resource = resources[logicalId];
    return resource && standIn(resource, nameOf(logicalId), region, queuesUrl);
  }

  function resolve(value: unknown, where: string): unknown {
    const refuse = (what: string): never => {
      throw new LambentError('configuration', `${where}: the laptop cloud doesn't know what ${what} is here`);
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

  return { resolve, nameOf };
}

const intrinsicSchema = v.union([
  v.strictObject({ Ref: v.string() }),
  v.strictObject({ 'Fn::GetAtt': v.union([v.string(), v.array(v.string())]) }),
  v.strictObject({ 'Fn::Join': v.tuple([v.string(), v.array(v.unknown())]) }),
  v.strictObject({ 'Fn::Sub': v.string() }),
]);

function standIn(
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

function keyOf(arn: string): Resource {
  const id = arn.slice(arn.lastIndexOf('/') + 1);
  return { ref: id, attributes: { Arn: arn, KeyId: id } };
}

function capitalized(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
