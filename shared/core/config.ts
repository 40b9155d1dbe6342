import * as v from 'valibot';
import { LambentError } from './errors.ts';

/** Settings of every function. */
const common = {
  AWS_LAMBDA_FUNCTION_NAME: v.optional(v.string(), 'local'),
  LOG_LEVEL: v.optional(v.pipe(v.string(), v.toLowerCase(), v.picklist(['debug', 'info', 'warn', 'error'])), 'info'),
};

type Entries = v.ObjectEntries;

/**
 * Reads and validates a function's environment variables. Called once, at start.
 * @param entries a valibot schema for each variable, besides the common ones
 * @throws LambentError `configuration` that names each missing or invalid variable, never its value
 */
export function readConfig<const E extends Entries>(
  entries: E,
  env: Readonly<Record<string, string | undefined>> = process.env,
): v.InferOutput<v.ObjectSchema<E & typeof common, undefined>> {
  const schema = v.object({ ...common, ...entries });
  // An empty variable counts as unset, because CloudFormation can't omit a variable conditionally.
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const result = v.safeParse(schema, set);
  if (result.success) return result.output as v.InferOutput<v.ObjectSchema<E & typeof common, undefined>>;
  const problems = result.issues.map((issue) => {
    const name = v.getDotPath(issue) ?? 'environment';
    return set[name] === undefined
      ? `${name} is not set`
      : `${name} is not valid (expected ${issue.expected ?? issue.message})`;
  });
  throw new LambentError('configuration', `Environment: ${problems.join('; ')}`);
}
