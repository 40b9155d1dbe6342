import {
  CreateAliasCommand,
  CreateKeyCommand,
  DescribeKeyCommand,
  KMSClient,
  NotFoundException,
} from '@aws-sdk/client-kms';
import type { Service } from '../service/service.ts';

/**
 * Creates the keys that the service defines; those of an earlier start are found again by an alias.
 * @param endpoint URL of the stand-in for KMS
 * @returns their ARNs, by logical id
 */
export async function createKeys(endpoint: string, service: Service): Promise<Record<string, string>> {
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new KMSClient({ endpoint, region: service.region, credentials });
  try {
    const arns: Record<string, string> = {};
    for (const [logicalId, { Type }] of Object.entries(service.resources)) {
      if (Type !== 'AWS::KMS::Key') continue;
      arns[logicalId] = await findOrCreate(client, `alias/${service.name}-${service.stage}/${logicalId}`);
    }
    return arns;
  } finally {
    client.destroy();
  }
}

async function findOrCreate(client: KMSClient, AliasName: string): Promise<string> {
  try {
    const { KeyMetadata } = await client.send(new DescribeKeyCommand({ KeyId: AliasName }));
    return KeyMetadata?.Arn ?? '';
  } catch (error) {
    if (!(error instanceof NotFoundException)) throw error;
    const { KeyMetadata } = await client.send(new CreateKeyCommand({ Description: AliasName }));
    const TargetKeyId = KeyMetadata?.Arn ?? '';
    await client.send(new CreateAliasCommand({ AliasName, TargetKeyId }));
    return TargetKeyId;
  }
}
