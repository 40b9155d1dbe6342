import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createStackError } from '../aws-error.ts';
import { UsageError } from '../command-line.ts';
import { resolveStage } from '../stage.ts';
import type { AdminContext, TargetOptions } from './context.ts';

/** The administration API of a stage or of the laptop. */
export interface ApiTarget {
  /** Ends with `/v1`. */
  readonly url: string;
  readonly adminKey: string;
  /** `the stage dev in eu-west-1` */
  readonly description: string;
}

/** The tables of a stage or of the laptop. */
export interface TablesTarget {
  readonly client: DynamoDBClient;
  readonly accessTable: string;
  readonly adminTable: string;
  readonly description: string;
}

/**
 * Finds the API, and the key in `OPENAI_ADMIN_KEY`, or the laptop's own.
 * @throws UsageError for invalid options; Error with one line if the stage or the key is missing
 */
export async function resolveApi(options: TargetOptions, context: AdminContext): Promise<ApiTarget> {
  if (isLocal(options)) {
    const read = await readLocalVariables(context);
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

/** Finds the tables, with the operator's own credentials. @throws as `resolveApi` does */
export async function resolveTables(options: TargetOptions, context: AdminContext): Promise<TablesTarget> {
  if (!isLocal(options)) {
    const { name, region, prefix } = await resolveStage(options);
    const tables = { accessTable: `${prefix}-access`, adminTable: `${prefix}-admin` };
    return { client: context.createClient({ region }), ...tables, description: `the stage ${name} in ${region}` };
  }
  const read = await readLocalVariables(context);
  const client = context.createClient({
    endpoint: read('AWS_ENDPOINT_URL_DYNAMODB'),
    region: read('AWS_REGION'),
    credentials: { accessKeyId: read('AWS_ACCESS_KEY_ID'), secretAccessKey: read('AWS_SECRET_ACCESS_KEY') },
  });
  return { client, accessTable: read('ACCESS_TABLE'), adminTable: read('ADMIN_TABLE'), description: 'the laptop' };
}

function isLocal({ local, stage, region }: TargetOptions): boolean {
  if (local && (stage !== undefined || region !== undefined))
    throw new UsageError('--local takes neither --stage nor --region');
  if (!local && stage === undefined) throw new UsageError('set --stage, or --local for the laptop');
  return local;
}

/** Returns a function that reads a variable of `.local/env`. */
async function readLocalVariables({ localEnvironment }: AdminContext): Promise<(name: string) => string> {
  const text = await localEnvironment();
  if (text === undefined) throw new Error('Lambent does not run here: start it with npm start (.local/env is missing)');
  const variables = new Map([...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
  return (name) => {
    const value = variables.get(name);
    if (value === undefined) throw new Error(`.local/env has no ${name}: restart npm start`);
    return value;
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
