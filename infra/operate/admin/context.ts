import type { CloudFormationClientConfig } from '@aws-sdk/client-cloudformation';
import type { DynamoDBClient, DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import type { LambdaClient, LambdaClientConfig } from '@aws-sdk/client-lambda';
import type { STSClient, STSClientConfig } from '@aws-sdk/client-sts';

/** What the command depends on. */
export interface AdminContext {
  /** Text of the file `.local/env`; undefined if `npm start` doesn't run. */
  readonly localEnvironment: () => Promise<string | undefined>;
  /** Value of the variable `OPENAI_ADMIN_KEY`. */
  readonly adminKey: string | undefined;
  /** Returns the text of a file, for `--data @FILE`. */
  readonly readFile: (path: string) => Promise<string>;
  readonly createClient: (config: DynamoDBClientConfig) => DynamoDBClient;
  readonly createLambda: (config: LambdaClientConfig) => LambdaClient;
  readonly createSts: (config: STSClientConfig) => STSClient;
  readonly cloudFormation?: CloudFormationClientConfig;
  /** Prints the result, which a script may read. */
  readonly print: (line: string) => void;
  /** Prints a line about the result. */
  readonly note: (line: string) => void;
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}
