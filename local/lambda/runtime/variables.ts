import { runtimeError } from './errors.ts';

/**
 * Reads an environment variable that Lambda sets.
 * @throws Error `Runtime.EnvironmentError` when it is not set
 */
export function requireVariable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw runtimeError('Runtime.EnvironmentError', `${name} is not set`);
  return value;
}

/**
 * Maximum number of invocations that this environment serves at once: `PerExecutionEnvironmentMaxConcurrency` in AWS.
 * Undefined in standard Lambda, which doesn't set the variable and serves one invocation at a time.
 */
export const maxConcurrency: number | undefined =
  process.env['AWS_LAMBDA_MAX_CONCURRENCY'] === undefined
    ? undefined
    : Number(process.env['AWS_LAMBDA_MAX_CONCURRENCY']);
