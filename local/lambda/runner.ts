import { randomUUID } from 'node:crypto';
import { type Credentials, toVariables } from '../credentials.ts';
import { Concurrency } from './concurrency.ts';
import type { EnvironmentOptions, LogLine } from './environment.ts';
import { LambdaServiceError } from './errors.ts';
import { buildFunctionArn, type FunctionDefinition, MAX_REQUEST_BYTES } from './function.ts';
import { type FunctionResponse, Invocation, type InvokeOptions } from './invocation.ts';
import { countRecursions, extendLineage, MAX_RECURSIONS } from './lineage.ts';
import { Pool } from './pool.ts';
import { startRuntimeApi } from './runtime-api.ts';
import { bundleRuntime } from './runtime-bundle.ts';

export interface RunnerOptions {
  readonly functions: readonly FunctionDefinition[];
  readonly region: string;
  /** Concurrent invocations that all standard functions without a reservation share. */
  readonly concurrency?: number;
  /** Milliseconds without work after which a process ends. */
  readonly idleMs?: number;
  /** Milliseconds that a process may take to load its handler. */
  readonly initTimeoutMs?: number;
  /** Returns the credentials of a process that is about to start. Processes have none when absent. */
  readonly credentials?: () => Promise<Credentials>;
  readonly onLog?: (line: LogLine) => void;
  /** Path of the runtime that each process runs; our own when absent. */
  readonly runtime?: string;
}

/** A process that serves a function. */
export interface FunctionProcess {
  readonly pid: number;
  /** The function's short name. */
  readonly function: string;
  /** False if it is ready and runs no invocation. */
  readonly busy: boolean;
  /** Ids of the invocations that it runs. */
  readonly requestIds: readonly string[];
}

export interface Runner {
  /**
   * Invokes a function.
   * @param name its short name, its AWS name, or its ARN
   * @param payload JSON
   * @returns the response, as soon as its first byte has arrived; read its body to the end
   * @throws LambdaServiceError when Lambda refuses; FunctionError when the function fails before its first byte
   */
  invoke(name: string, payload: Uint8Array | string, options?: InvokeOptions): Promise<FunctionResponse>;
  /** Returns the processes of all functions at this moment. */
  processes(): FunctionProcess[];
  /** Ends every process. */
  close(): Promise<void>;
}

/** More than a laptop can serve at once, but few enough that processes don't exhaust its memory. */
const DEFAULT_CONCURRENCY = 100;
const DEFAULT_IDLE_MS = 5 * 60_000;
/** AWS's own limit. */
const DEFAULT_INIT_TIMEOUT_MS = 10_000;

/** Starts the Lambda runner. A function's first process starts with its first invocation. */
export async function startRunner(options: RunnerOptions): Promise<Runner> {
  const { functions, region, idleMs = DEFAULT_IDLE_MS, initTimeoutMs = DEFAULT_INIT_TIMEOUT_MS } = options;
  const { credentials, onLog = () => undefined } = options;
  const account = new Concurrency(options.concurrency ?? DEFAULT_CONCURRENCY, 'ConcurrentInvocationLimitExceeded');
  const pools = new Map<string, { definition: FunctionDefinition; concurrency: Concurrency; pool: Pool }>();
  const runtimeClient = options.runtime ?? (await bundleRuntime());
  const runtimeApi = await startRuntimeApi((environmentId) => {
    for (const { pool } of pools.values()) {
      const environment = pool.find(environmentId);
      if (environment !== undefined) return environment;
    }
    return undefined;
  });

  for (const definition of functions) {
    const concurrency = createConcurrency(definition, account);
    const { maxConcurrency, maxEnvironments } = definition.managedInstances ?? {
      maxConcurrency: 1,
      maxEnvironments: concurrency.limit,
    };
    const prepare = async (): Promise<EnvironmentOptions> => {
      const own = await credentials?.();
      return {
        definition,
        runtimeClient,
        variables: { ...buildVariables(definition, region), ...(own && toVariables(own)) },
        runtimeApi: runtimeApi.address,
        initTimeoutMs,
        expiresAt: own?.expiresAt ?? Number.POSITIVE_INFINITY,
      };
    };
    const pool = new Pool({ maxConcurrency, maxEnvironments, idleMs, prepare, onLog });
    pools.set(definition.name, { definition, concurrency, pool });
  }
  const reaper = setInterval(
    () => {
      const now = Date.now();
      for (const { pool } of pools.values()) pool.reap(now);
    },
    Math.min(10_000, Math.max(10, idleMs / 4)),
  );
  reaper.unref();

  return {
    async invoke(name, payload, { qualifier, clientContext, traceHeaders = [], requestId, remainingMs } = {}) {
      const entry = pools.get(name) ?? pools.get(resolveShortName(functions, name));
      if (entry === undefined) {
        throw new LambdaServiceError(
          'ResourceNotFoundException',
          `Function not found: ${buildFunctionArn(region, name)}`,
        );
      }
      if (Buffer.byteLength(payload) > MAX_REQUEST_BYTES) {
        const message = `Request must be smaller than ${MAX_REQUEST_BYTES} bytes for the InvokeFunction operation`;
        throw new LambdaServiceError('RequestTooLargeException', message);
      }
      const { definition } = entry;
      const lineage = extendLineage(traceHeaders, definition.functionName);
      if (countRecursions(lineage, definition.functionName) > MAX_RECURSIONS && definition.allowsRecursion !== true) {
        const message = `Lambda stopped a recursive loop: ${definition.functionName} was invoked ${MAX_RECURSIONS} times in a chain.`;
        onLog({ function: definition.name, pid: 0, stream: 'stderr', text: message });
        throw new LambdaServiceError('RecursiveInvocationException', message);
      }
      const release = entry.concurrency.acquire();
      const functionArn = buildFunctionArn(region, definition.functionName, qualifier);
      const invocation = new Invocation({
        ...{ payload, functionArn, clientContext, requestId, remainingMs, lineage, release },
      });
      entry.pool.run(invocation);
      return invocation.response;
    },
    processes: () =>
      [...pools.entries()].flatMap(([name, { pool }]) =>
        pool
          .environments()
          .filter(({ phase }) => phase !== 'gone')
          .map(({ pid, phase, load, requestIds }) => ({
            pid,
            function: name,
            busy: phase !== 'ready' || load > 0,
            requestIds,
          })),
      ),
    async close() {
      clearInterval(reaper);
      await Promise.all([...pools.values()].map(({ pool }) => pool.close()));
      await runtimeApi.close();
    },
  };
}

/**
 * Returns the limit of a function's concurrent invocations. A function on Lambda Managed Instances takes none of the
 * account's concurrency: it is limited by its environments.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-quotas.html
 */
function createConcurrency(
  { reservedConcurrency, managedInstances }: FunctionDefinition,
  account: Concurrency,
): Concurrency {
  if (reservedConcurrency !== undefined)
    return new Concurrency(reservedConcurrency, 'ReservedFunctionConcurrentInvocationLimitExceeded');
  if (managedInstances === undefined) return account;
  const { maxConcurrency, maxEnvironments } = managedInstances;
  return new Concurrency(maxConcurrency * maxEnvironments, 'ConcurrentInvocationLimitExceeded');
}

/** Returns the short name behind an AWS name, `account:function:name` or an ARN. */
function resolveShortName(functions: readonly FunctionDefinition[], name: string): string {
  const awsName = name.includes(':') ? name.slice(name.lastIndexOf('function:') + 'function:'.length) : name;
  return functions.find(({ functionName }) => functionName === awsName)?.name ?? '';
}

/** Returns the environment variables of a process: the function's own and Lambda's, none of the local cloud's. */
function buildVariables(definition: FunctionDefinition, region: string): Record<string, string> {
  const { name, functionName, taskRoot, handler, memoryMb, environment, managedInstances } = definition;
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin:/opt/bin',
    LANG: 'en_US.UTF-8',
    TZ: ':UTC',
    ...environment,
    _HANDLER: handler,
    LAMBDA_TASK_ROOT: taskRoot,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
    AWS_LAMBDA_FUNCTION_NAME: functionName,
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMb),
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${functionName}`,
    AWS_LAMBDA_LOG_STREAM_NAME: `${name}/[$LATEST]${randomUUID()}`,
    ...(managedInstances === undefined
      ? { AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand' }
      : {
          AWS_LAMBDA_INITIALIZATION_TYPE: 'lambda-managed-instances',
          AWS_LAMBDA_LOG_FORMAT: 'JSON',
          AWS_LAMBDA_MAX_CONCURRENCY: String(managedInstances.maxConcurrency),
          AWS_LAMBDA_NODEJS_WORKER_COUNT: '1',
        }),
  };
}
