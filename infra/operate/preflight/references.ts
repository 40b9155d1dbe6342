import { DescribeSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { DescribeParametersCommand, SSMClient } from '@aws-sdk/client-ssm';
import { readPackagedRegistry } from '../../models-file.ts';
import { listSecretReferences } from '../../models-policy.ts';
import { isNotFound } from '../aws-error.ts';
import { createError, createWarning, type Finding, type PreflightInput } from './finding.ts';
import { readOwnStack } from './own-stack.ts';

/**
 * Checks the parameters and secrets to which the models file refers: that they exist, can hold a key, and are encrypted
 * under a key that functions may use. Reads no value.
 */
export async function checkReferences(input: PreflightInput): Promise<readonly Finding[]> {
  const registry = input.registry ?? (await readPackagedRegistry());
  const references = [...new Set(listSecretReferences(registry))];
  const dataKey = (await readOwnStack(input))?.get('DataKey');
  const found = references.map((reference) => {
    if (reference.startsWith('ssm:')) return checkParameter(reference.slice('ssm:'.length), input, dataKey);
    if (reference.startsWith('secret:')) return checkSecret(reference.slice('secret:'.length), input, dataKey);
    return [];
  });
  return (await Promise.all(found)).flat();
}

async function checkParameter(name: string, input: PreflightInput, dataKey: string | undefined): Promise<Finding[]> {
  const { region, clientConfig } = input;
  const put = `aws ssm put-parameter --region ${region} --overwrite --type SecureString --name ${name} --value "$KEY"`;
  const { Parameters = [] } = await new SSMClient({ ...clientConfig, region }).send(
    new DescribeParametersCommand({
      ParameterFilters: [{ Key: 'Name', Option: 'Equals', Values: [name] }],
      // Without it, parameters that another account shares are not found.
      ...(name.startsWith('arn:') ? { Shared: true } : {}),
    }),
  );
  const [parameter] = Parameters;
  if (parameter === undefined)
    return [
      createWarning(
        `The models file refers to the parameter ${name}, which ${region} does not have: calls of its models would fail.`,
        put,
      ),
    ];
  if (parameter.Type === 'StringList')
    return [createError(`The parameter ${name} is a StringList, which can't hold one key.`, put)];
  if (parameter.Type === 'String')
    return [createWarning(`The parameter ${name} is a String: everyone who may read parameters sees the key.`, put)];
  if (isUsable(parameter.KeyId, 'ssm', input, dataKey)) return [];
  return [describeForeignKey(`The parameter ${name}`, parameter.KeyId, input, `${put} --key-id alias/aws/ssm`)];
}

async function checkSecret(name: string, input: PreflightInput, dataKey: string | undefined): Promise<Finding[]> {
  const { region, clientConfig } = input;
  const client = new SecretsManagerClient({ ...clientConfig, region });
  const create = `aws secretsmanager create-secret --region ${region} --name ${name} --secret-string "$KEY"`;
  const put = `aws secretsmanager put-secret-value --region ${region} --secret-id ${name} --secret-string "$KEY"`;
  try {
    const {
      DeletedDate,
      VersionIdsToStages = {},
      KmsKeyId,
    } = await client.send(new DescribeSecretCommand({ SecretId: name }));
    if (DeletedDate !== undefined)
      return [
        createError(
          `The secret ${name} is scheduled for deletion.`,
          `aws secretsmanager restore-secret --region ${region} --secret-id ${name}`,
        ),
      ];
    if (!Object.values(VersionIdsToStages).some((stages) => stages.includes('AWSCURRENT')))
      return [createError(`The secret ${name} has no value.`, put)];
    if (isUsable(KmsKeyId, 'secretsmanager', input, dataKey)) return [];
    const remedy = `aws secretsmanager update-secret --region ${region} --secret-id ${name} --kms-key-id alias/aws/secretsmanager`;
    return [describeForeignKey(`The secret ${name}`, KmsKeyId, input, remedy)];
  } catch (thrown) {
    if (!isNotFound(thrown)) throw thrown;
    return [
      createWarning(
        `The models file refers to the secret ${name}, which ${region} does not have: calls of its models would fail.`,
        create,
      ),
    ];
  }
}

/** True if functions may decrypt with the key: AWS's own key of the service, and the stack's. */
function isUsable(key: string | undefined, service: string, { stackName }: PreflightInput, dataKey?: string): boolean {
  if (key === undefined) return true;
  const id = key.replace(/^arn:[^:]+:kms:[^:]*:[^:]*:(key\/)?/, '');
  return [`alias/aws/${service}`, `alias/${stackName}`, dataKey].includes(id);
}

function describeForeignKey(
  what: string,
  key: string | undefined,
  { stackName }: PreflightInput,
  remedy: string,
): Finding {
  return createWarning(
    `${what} is encrypted under ${key}. Functions may use only AWS's own key and alias/${stackName}, unless that key's policy allows their roles.`,
    remedy,
  );
}
