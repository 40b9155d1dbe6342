import { createInterface } from 'node:readline/promises';
import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { KMSClient } from '@aws-sdk/client-kms';
import { S3Client } from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { describeAwsError } from '../operate/aws-error.ts';
import type { ClientConfig } from '../operate/preflight/finding.ts';
import { STAGES_FILE, type StageRecord } from '../operate/stages-file.ts';
import type { DataClients } from './data.ts';
import type { StackContext } from './stack.ts';

/** What the commands need besides their arguments. */
export interface CommandContext {
  readonly clientConfig: ClientConfig;
  /** Path of the file that records where each stage is deployed. */
  readonly stagesFile: string;
  readonly print: (line: string) => void;
  /** Asks a question on the terminal. Returns undefined without a terminal. */
  readonly ask: (question: string) => Promise<string | undefined>;
  readonly request: typeof fetch;
  /** Pause between two requests while waiting, in milliseconds. */
  readonly pollMs: number;
}

/** The clients of a region, and the stack of a stage. */
export interface StageClients {
  readonly stack: StackContext;
  readonly data: DataClients;
}

/** Returns the context of a command that runs in a shell. */
export function createShellContext(): CommandContext {
  return {
    clientConfig: {},
    stagesFile: STAGES_FILE,
    print: console.log,
    ask: askOnTerminal,
    request: fetch,
    pollMs: 5_000,
  };
}

async function askOnTerminal(question: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined;
  using terminal = createInterface({ input: process.stdin, output: process.stdout });
  return terminal.question(question);
}

/** Returns the clients for a stack in a region. */
export function createStageClients(
  { clientConfig, print, pollMs }: CommandContext,
  region: string,
  stackName: string,
): StageClients {
  const config = { ...clientConfig, region };
  return {
    stack: { cloudFormation: new CloudFormationClient(config), stackName, print, pollMs },
    data: {
      dynamoDb: new DynamoDBClient(config),
      kms: new KMSClient(config),
      // A stand-in has no host name for each bucket.
      s3: new S3Client({ ...config, forcePathStyle: clientConfig.endpoint !== undefined }),
    },
  };
}

/**
 * Returns the account of the credentials.
 * @param recorded where the stage is deployed, if it is
 * @throws Error that says what to do if AWS doesn't accept the credentials, or they belong to another account
 */
export async function readAccount(
  { clientConfig }: CommandContext,
  {
    stage,
    region,
    recorded,
  }: { readonly stage: string; readonly region: string; readonly recorded: StageRecord | undefined },
): Promise<string> {
  const account = await readCaller(clientConfig, stage, region);
  if (recorded === undefined || recorded.account === account) return account;
  throw new Error(
    `The credentials belong to account ${account}, but the stage ${stage} is deployed in ${recorded.account}.`,
  );
}

async function readCaller(clientConfig: ClientConfig, stage: string, region: string): Promise<string> {
  try {
    const { Account } = await new STSClient({ ...clientConfig, region }).send(new GetCallerIdentityCommand());
    return Account ?? '';
  } catch (thrown) {
    throw new Error(`the stage ${stage} in ${region}: ${describeAwsError(thrown)}`, { cause: thrown });
  }
}
