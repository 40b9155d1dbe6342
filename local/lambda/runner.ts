import { randomUUID } from 'node:crypto';
import { type Credentials, dummyCredentials } from '../credentials.ts';
import { Concurrency } from './concurrency.ts';
import type { EnvironmentOptions, LogLine } from './environment.ts';
import { LambdaServiceError } from './errors.ts';
import { type FunctionDefinition, functionArn, MAX_PAYLOAD_BYTES } from './function.ts';
import { type FunctionResponse, Invocation, type InvokeOptions } from './invocation.ts';
import { Pool } from './pool.ts';
import { startRuntimeApi } from './runtime-api.ts';
import { compileRuntimeClient } from './runtime-bundle.ts';

export interface RunnerOptions {
  readonly functions: readonly FunctionDefinition[];
  readonly region: string;
  /** Invocations at once that all functions without a reservation of their own share. */
  readonly concurrency?: number;
  /** Milliseconds without work after which a process ends. */
  readonly idleMs?: number;
  /** Milliseconds a process may take to load its handler. */
  readonly initTimeoutMs?: number;
  /** Asked at the start of each process. */
  readonly credentials?: () => Promise<Credentials>;
  readonly onLog?: (line: LogLine) => void;
}

/** A process that a function has. */
export interface FunctionProcess {
  readonly pid: number;
  /** The function's short name. */
  readonly function: string;
  /** Whether it is starting or serving. */
  readonly busy: boolean;
  /** Id of the invocation that it serves; absent when it serves none. */
  readonly requestId?: string;
}

export interface Runner {
  /**
   * Invokes a function.
   * @param name its short name, its AWS name, or its ARN
   * @param payload JSON
   * @returns its answer, as soon as its first byte is there; the body must be read to its end
   * @throws LambdaServiceError when Lambda refuses; FunctionError when the function fails before it answers
   */
  invoke(name: string, payload: Uint8Array | string, options?: InvokeOptions): Promise<FunctionResponse>;
  processes(): FunctionProcess[];
  /** Ends every process. */
  close(): Promise<void>;
}

/** More than a laptop can serve at once, and still no fork bomb. */
const DEFAULT_CONCURRENCY = 100;
const DEFAULT_IDLE_MS = 5 * 60_000;
/** AWS's own limit. */
const DEFAULT_INIT_TIMEOUT_MS = 10_000;

/** Starts the Lambda runner. No process is started before the first call. */
export async function startRunner(options: RunnerOptions): Promise<Runner> {
  const { functions, region, idleMs = DEFAULT_IDLE_MS, initTimeoutMs = DEFAULT_INIT_TIMEOUT_MS } = options;
  const { credentials = dummyCredentials, onLog = () => undefined } = options;
  const shared = new Concurrency(options.concurrency ?? DEFAULT_CONCURRENCY, 'ConcurrentInvocationLimitExceeded');
  const pools = new Map<string, { definition: FunctionDefinition; concurrency: Concurrency; pool: Pool }>();
  const runtimeClient = await compileRuntimeClient();
  const runtimeApi = await startRuntimeApi((environmentId) => {
    for (const { pool } of pools.values()) {
      const environment = pool.find(environmentId);
      if (environment !== undefined) return environment;
    }
    return undefined;
  });

  for (const definition of functions) {
    const { reservedConcurrency } = definition;
    const concurrency =
      reservedConcurrency === undefined
        ? shared
        : new Concurrency(reservedConcurrency, 'ReservedFunctionConcurrentInvocationLimitExceeded');
    const prepare = async (): Promise<EnvironmentOptions> => {
      const { variables, expiresAt } = await credentials();
      return {
        definition,
        runtimeClient,
        variables: { ...variablesFor(definition, region), ...variables },
        runtimeApi: runtimeApi.address,
        initTimeoutMs,
        expiresAt,
      };
    };
    const pool = new Pool({ concurrency, idleMs, prepare, onLog });
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
    async invoke(name, payload, { qualifier, clientContext } = {}) {
      const entry = pools.get(name) ?? pools.get(shortName(functions, name));
      if (entry === undefined) {
        throw new LambdaServiceError('ResourceNotFoundException', `Function not found: ${functionArn(region, name)}`);
      }
      if (Buffer.byteLength(payload) > MAX_PAYLOAD_BYTES) {
        const message = `Request must be smaller than ${MAX_PAYLOAD_BYTES} bytes for the InvokeFunction operation`;
        throw new LambdaServiceError('RequestTooLargeException', message);
      }
      const release = entry.concurrency.acquire();
      const arn = functionArn(region, entry.definition.functionName, qualifier);
      const invocation = new Invocation(payload, arn, clientContext, release);
      entry.pool.run(invocation);
      return invocation.response;
    },
    processes: () =>
      [...pools.entries()].flatMap(([name, { pool }]) =>
        pool
          .environments()
          .filter(({ phase }) => phase !== 'gone')
          .map(({ pid, phase, requestId }) => ({
            pid,
            function: name,
            busy: phase !== 'idle',
            ...(requestId === undefined ? {} : { requestId }),
          })),
      ),
    async close() {
      clearInterval(reaper);
      await Promise.all([...pools.values()].map(({ pool }) => pool.close()));
      await runtimeApi.close();
    },
  };
}

/** The short name behind an AWS name, `account:function:name` or an ARN. */
function shortName(functions: readonly FunctionDefinition[], name: string): string {
  const awsName = name.includes(':') ? name.slice(name.lastIndexOf('function:') + 'function:'.length) : name;
  return functions.find(({ functionName }) => functionName === awsName)?.name ?? '';
}

/** The environment of a process: the function's own variables, and those that Lambda sets. Nothing of ours leaks in. */
function variablesFor(definition: FunctionDefinition, region: string): Record<string, string> {
  const { name, functionName, taskRoot, handler, memoryMb, environment } = definition;
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
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${functionName}`,
    AWS_LAMBDA_LOG_STREAM_NAME: `${name}/[$LATEST]${randomUUID()}`,
  };
}
