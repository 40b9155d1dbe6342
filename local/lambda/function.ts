import { availableParallelism } from 'node:os';

/** A function and its configuration. */
export interface FunctionDefinition {
  /** Its key in `serverless.yml`, such as `chat`. Process titles and log files contain it. */
  readonly name: string;
  /** Its name in AWS, such as `lambent-local-chat`. */
  readonly functionName: string;
  /** Absolute path of the folder that stands for `/var/task`. */
  readonly taskRoot: string;
  /** File (without extension) and export below the task root: `index.handler`. */
  readonly handler: string;
  /** Milliseconds that one invocation may take. */
  readonly timeoutMs: number;
  readonly memoryMb: number;
  /**
   * Concurrent invocations that are reserved for this function, and its maximum. If absent, it shares the account's.
   */
  readonly reservedConcurrency?: number;
  /** If set, a process serves many invocations at once, as on Lambda Managed Instances. If absent, standard Lambda. */
  readonly managedInstances?: ManagedInstances;
  /** True if only queues and schedules invoke the function, so that no caller waits for its answer. */
  readonly background: boolean;
  readonly environment: Readonly<Record<string, string>>;
  /** True if chains of its invocations may be of any length (`RecursiveLoop: Allow`). If absent, they end after 16. */
  readonly allowsRecursion?: boolean;
}

/**
 * How a function runs on Lambda Managed Instances.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-nodejs-runtime.html
 */
export interface ManagedInstances {
  /** Maximum of invocations that one process serves at once: `PerExecutionEnvironmentMaxConcurrency`. */
  readonly maxConcurrency: number;
  /** Maximum number of processes: `MaxExecutionEnvironments`. */
  readonly maxEnvironments: number;
}

/**
 * AWS's default for Node.js is 64 concurrent requests per vCPU. Each process gets the limit of all the machine's
 * processors, so that on a busy machine requests wait in a few processes instead of being refused or starting more.
 */
export const DEFAULT_MANAGED_INSTANCES: ManagedInstances = {
  maxConcurrency: 64 * availableParallelism(),
  maxEnvironments: 4,
};

/** Selects the functions that run as on Lambda Managed Instances: those that callers wait for, all, or some by name. */
export type ManagedFunctions = 'interactive' | 'all' | readonly string[];

/** Returns a function's definition, with `managedInstances` if `managed` selects the function. */
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

/** Lambda's limit for a request, as its error quotes it: 6 MiB. */
export const MAX_REQUEST_BYTES = 6_291_456;
/** Lambda's limit for a response that is not streamed, as its error quotes it: 100 bytes more. */
export const MAX_RESPONSE_BYTES = 6_291_556;

/** Returns the ARN of a function, or of its alias. */
export function buildFunctionArn(region: string, functionName: string, qualifier?: string): string {
  const arn = `arn:aws:lambda:${region}:${ACCOUNT_ID}:function:${functionName}`;
  return qualifier === undefined ? arn : `${arn}:${qualifier}`;
}
