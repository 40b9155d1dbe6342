import { availableParallelism } from 'node:os';

/** One function, as the runner needs to know it. */
export interface FunctionDefinition {
  /** Its key in `serverless.yml`: `chat`. Process titles and log files bear it. */
  readonly name: string;
  /** Its name in AWS: `lambent-local-chat`. */
  readonly functionName: string;
  /** Absolute path of the folder that stands for `/var/task`. */
  readonly taskRoot: string;
  /** File (without extension) and export below the task root: `index.handler`. */
  readonly handler: string;
  /** Milliseconds that one invocation may take. */
  readonly timeoutMs: number;
  readonly memoryMb: number;
  /** Concurrent invocations that are reserved for this function, and its maximum. It then takes none from the account. */
  readonly reservedConcurrency?: number;
  /** Runs as on Lambda Managed Instances: a process serves many invocations at once. Standard Lambda when absent. */
  readonly managedInstances?: ManagedInstances;
  /** True if only queues and schedules invoke the function, so that no caller waits for its answer. */
  readonly background: boolean;
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * How a function runs on Lambda Managed Instances.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-nodejs-runtime.html
 */
export interface ManagedInstances {
  /** Invocations that one process serves at once at most: `PerExecutionEnvironmentMaxConcurrency`. */
  readonly maxConcurrency: number;
  /** Processes at most: `MaxExecutionEnvironments`. */
  readonly maxEnvironments: number;
}

/**
 * 64 concurrent requests per vCPU are AWS's default for Node.js. All processors of the machine count, so that requests beyond
 * what the machine can serve wait in a few processes instead of being refused or starting more processes.
 */
export const DEFAULT_MANAGED_INSTANCES: ManagedInstances = {
  maxConcurrency: 64 * availableParallelism(),
  maxEnvironments: 4,
};

/** Functions that run as on Lambda Managed Instances: those that callers wait for, all, or those with these names. */
export type ManagedFunctions = 'interactive' | 'all' | readonly string[];

/** Returns a function's definition, which runs as on Lambda Managed Instances if `managed` selects it. */
export function selectMode<Definition extends Pick<FunctionDefinition, 'name' | 'background'>>(
  definition: Definition,
  managed: ManagedFunctions,
): Definition & Pick<FunctionDefinition, 'managedInstances'> {
  const { name, background } = definition;
  const isManaged = managed === 'all' || (managed === 'interactive' ? !background : managed.includes(name));
  return isManaged ? { ...definition, managedInstances: DEFAULT_MANAGED_INSTANCES } : definition;
}

/** Id of the local cloud's account, which the SQS and DynamoDB stand-ins use as well. */
export const ACCOUNT_ID = '000000000000';

/** Lambda's limit for a request, and for a response that is not streamed: 6 MB and its envelope. */
export const MAX_PAYLOAD_BYTES = 6_291_556;

/** Returns the ARN of a function, or of its alias. */
export function buildFunctionArn(region: string, functionName: string, qualifier?: string): string {
  const arn = `arn:aws:lambda:${region}:${ACCOUNT_ID}:function:${functionName}`;
  return qualifier === undefined ? arn : `${arn}:${qualifier}`;
}
