import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createStackError } from '../aws-error.ts';
import { createLocalConfig, isLocal, parseLocalEnvironment, type TargetOptions } from '../local-target.ts';
import type { Recorder } from '../record-act.ts';
import { resolveStage } from '../stage.ts';
import type { AdminContext } from './context.ts';

/** The administration API of a stage or of the laptop. */
export interface ApiTarget {
  /** Ends with `/v1`. */
  readonly url: string;
  readonly adminKey: string;
  /** `the stage dev in eu-west-1` */
  readonly description: string;
}

/** The tables and the audit log of a stage or of the laptop. */
export interface TablesTarget {
  readonly client: DynamoDBClient;
  readonly accessTable: string;
  readonly adminTable: string;
  readonly recorder: Recorder;
  readonly description: string;
}

/**
 * Finds the API, and the key in `OPENAI_ADMIN_KEY`, or the laptop's own.
 * @throws UsageError for invalid options; Error with one line if the stage or the key is missing
 */
export async function resolveApi(options: TargetOptions, context: AdminContext): Promise<ApiTarget> {
  if (isLocal(options)) {
    const read = parseLocalEnvironment(await context.localEnvironment());
    return { url: read('LAMBENT_URL'), adminKey: read('LAMBENT_ADMIN_KEY'), description: 'the laptop' };
  }
  const { name, region, prefix } = await resolveStage(options);
  const description = `the stage ${name} in ${region}`;
  const { adminKey } = context;
  if (adminKey === undefined || adminKey === '')
    throw new Error(
      `Set OPENAI_ADMIN_KEY to an admin key of ${description}. npm run admin -- bootstrap --stage ${name} makes the first one.`,
    );
  return { url: await findBaseUrl(prefix, region, context), adminKey, description };
}

/** Finds the tables and the audit log, with the operator's own credentials. @throws as `resolveApi` does */
export async function resolveTables(options: TargetOptions, context: AdminContext): Promise<TablesTarget> {
  if (!isLocal(options)) {
    const { name, region, prefix } = await resolveStage(options);
    const [lambda, sts] = [context.createLambda({ region }), context.createSts({ region })];
    return {
      client: context.createClient({ region }),
      ...{ accessTable: `${prefix}-access`, adminTable: `${prefix}-admin` },
      recorder: { functionName: `${prefix}-record`, lambda, sts },
      description: `the stage ${name} in ${region}`,
    };
  }
  const read = parseLocalEnvironment(await context.localEnvironment());
  const lambda = context.createLambda(createLocalConfig(read, 'LAMBDA'));
  return {
    client: context.createClient(createLocalConfig(read, 'DYNAMODB')),
    ...{ accessTable: read('ACCESS_TABLE'), adminTable: read('ADMIN_TABLE') },
    recorder: { functionName: read('RECORD_FUNCTION'), lambda, sts: undefined },
    description: 'the laptop',
  };
}

async function findBaseUrl(StackName: string, region: string, { cloudFormation }: AdminContext): Promise<string> {
  const client = new CloudFormationClient({ ...cloudFormation, region });
  try {
    const { Stacks = [] } = await client.send(new DescribeStacksCommand({ StackName }));
    const url = Stacks[0]?.Outputs?.find(({ OutputKey }) => OutputKey === 'BaseUrl')?.OutputValue;
    if (url !== undefined) return url;
  } catch (thrown) {
    throw createStackError(thrown, StackName, region);
  } finally {
    client.destroy();
  }
  throw new Error(`${StackName} in ${region} has no output BaseUrl: deploy it again`);
}
