import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';

/** Settings of `npm start`, which are environment variables. */
const settingsSchema = v.object({
  /** Port of the API on 127.0.0.1. */
  PORT: v.optional(wholeNumber(0, 65_535, 'must be a port number from 1 to 65535, or 0 for any free port'), '3000'),
  /** Folder of tables, objects, keys and logs, relative to the project's folder. */
  STATE_DIR: v.optional(v.string(), '.local'),
  /** Prints the functions' log lines. The state folder has them in any case. */
  LOG: v.optional(v.string(), ''),
  LOG_LEVEL: v.optional(v.picklist(['debug', 'info', 'warn', 'error'])),
  /** Concurrent invocations that functions without a reservation share, as an account's limit does. */
  CONCURRENCY: v.optional(wholeNumber(1, 10_000, 'must be a number from 1 to 10000')),
  /** Seconds after which an idle function process ends. */
  IDLE_SECONDS: v.optional(wholeNumber(1, 86_400, 'must be a number of seconds from 1 to 86400')),
  /** `standard` gives each request a process of its own; `managed` lets a process of an HTTP function serve many. */
  LAMBDA_MODE: v.optional(v.picklist(['standard', 'managed'], 'must be standard or managed'), 'managed'),
  /** GPU worker stand-ins, each a process, that serve the model `gpu`; 2 when absent. */
  GPU_WORKERS: v.optional(wholeNumber(0, 8, 'must be a number of workers from 0 to 8')),
  /** File for the times of the start's phases, as JSON, which `npm run bench -- start` reads. */
  START_PHASES: v.optional(v.string()),
});
export type Settings = v.InferOutput<typeof settingsSchema>;

function wholeNumber(min: number, max: number, message: string) {
  return v.pipe(
    v.string(),
    v.regex(/^\d{1,5}$/, message),
    v.transform(Number),
    v.minValue(min, message),
    v.maxValue(max, message),
  );
}

/**
 * Reads the settings. An empty variable counts as unset.
 * @throws LambentError `configuration`, with a line for each wrong setting
 */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = v.safeParse(settingsSchema, present);
  if (result.success) return result.output;
  const lines = result.issues.map((issue) => `${v.getDotPath(issue)} ${issue.message}`);
  throw new LambentError('configuration', lines.join('\n'));
}
