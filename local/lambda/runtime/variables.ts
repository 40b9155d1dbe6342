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
 * How many invocations this environment may serve at once: what `PerExecutionEnvironmentMaxConcurrency` says in AWS.
 * Undefined in standard Lambda, which sets no such variable and serves one at a time.
 */
export const maxConcurrency: number | undefined =
  process.env['AWS_LAMBDA_MAX_CONCURRENCY'] === undefined
    ? undefined
    : Number(process.env['AWS_LAMBDA_MAX_CONCURRENCY']);
