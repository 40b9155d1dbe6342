/** One function as the runner needs to know it. */
export interface FunctionDefinition {
  /** Its key in `serverless.yml`: `chat`. Process titles and log files bear it. */
  readonly name: string;
  /** Its name in AWS: `lambent-local-chat`. */
  readonly functionName: string;
  /** Absolute folder that stands for `/var/task`. */
  readonly taskRoot: string;
  /** File (without extension) and export below the task root: `index.handler`. */
  readonly handler: string;
  /** Milliseconds one invocation may take. */
  readonly timeoutMs: number;
  readonly memoryMb: number;
  /** Invocations at once that it may have, and that nobody else may use. */
  readonly reservedConcurrency?: number;
  /** Called by queues and schedules alone: nobody waits for its answer. */
  readonly background: boolean;
  readonly environment: Readonly<Record<string, string>>;
}

/** The account of the laptop cloud: what the SQS and DynamoDB stand-ins use as well. */
export const ACCOUNT_ID = '000000000000';

/** Lambda's limit of a request, and of an answer that isn't streamed: 6 MB and its envelope. */
export const MAX_PAYLOAD_BYTES = 6_291_556;

/** ARN of a function, or of its alias. */
export function functionArn(region: string, functionName: string, qualifier?: string): string {
  const arn = `arn:aws:lambda:${region}:${ACCOUNT_ID}:function:${functionName}`;
  return qualifier === undefined ? arn : `${arn}:${qualifier}`;
}
