import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';

/** Settings of `npm start`, read from environment variables. */
const settingsSchema = v.object({
  /** Port of the API on 127.0.0.1. */
  PORT: v.optional(wholeNumber(0, 65_535, 'must be a port number from 1 to 65535, or 0 for any free port'), '3000'),
  /** Host names, separated by commas, under which something else forwards requests to the API. */
  ALLOWED_HOSTS: v.optional(hostNames(), ''),
  /** Folder of tables, objects, keys and logs, relative to the project's folder. */
  STATE_DIR: v.optional(v.string(), '.local'),
  /** If not empty, the functions' log lines are printed. They are always written to the state folder. */
  LOG: v.optional(v.string(), ''),
  LOG_LEVEL: v.optional(v.picklist(['debug', 'info', 'warn', 'error'])),
  /** Concurrent invocations that functions without reserved concurrency share, like an AWS account's limit. */
  CONCURRENCY: v.optional(wholeNumber(1, 10_000, 'must be a number from 1 to 10000')),
  /** Seconds after which an idle function process is stopped. */
  IDLE_SECONDS: v.optional(wholeNumber(1, 86_400, 'must be a number of seconds from 1 to 86400')),
  /** `standard`: one request at a time per process. `managed`: a process of an HTTP function serves many at once. */
  LAMBDA_MODE: v.optional(v.picklist(['standard', 'managed'], 'must be standard or managed'), 'managed'),
  /** Number of GPU worker stand-ins, each a process, that serve the model `gpu`; 2 when absent. */
  GPU_WORKERS: v.optional(wholeNumber(0, 8, 'must be a number of workers from 0 to 8')),
  /** File to which the times of the start's phases are written as JSON. `npm run bench -- start` reads it. */
  START_PHASES: v.optional(v.string()),
});
export type Settings = v.InferOutput<typeof settingsSchema>;

function hostNames() {
  return v.pipe(
    v.string(),
    v.toLowerCase(),
    v.transform((text) => text.split(',').flatMap((host) => host.trim() || [])),
    v.everyItem((host) => HOST.test(host), 'must be host names separated by commas, without scheme and port'),
  );
}

/** A host name, an IPv4 address, or an IPv6 address in brackets. */
const HOST = /^([a-z0-9_.-]+|\[[0-9a-f:]+\])$/;

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
 * Returns the settings. An empty variable counts as unset.
 * @throws LambentError `configuration`, with a line for each invalid setting
 */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = v.safeParse(settingsSchema, present);
  if (result.success) return result.output;
  const lines = result.issues.map((issue) => `${v.getDotPath(issue)} ${issue.message}`);
  throw new LambentError('configuration', lines.join('\n'));
}
