import { LambentError } from './errors.ts';
import type { EmbeddedMetrics } from './metrics.ts';

/** A value that may be logged: an id, a number, a name. Never content, keys or headers. */
export type LogValue = string | number | boolean | null | undefined;
export type LogFields = Readonly<Record<string, LogValue>>;

type Level = 'debug' | 'info' | 'warn' | 'error';
const ORDER: Readonly<Record<Level, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Writes the one line that every request leaves, at level `info`; it carries metrics, so no setting keeps it back. */
  summarize(message: string, fields: LogFields, metrics: EmbeddedMetrics): void;
  /** Adds fields to every line until `reset`. An environment serves one request at a time, so one context is enough. */
  annotate(fields: LogFields): void;
  /** Forgets the annotations of the last request. */
  reset(): void;
}

export interface LoggerOptions {
  readonly level: Level;
  /** Fields on every line, such as the function's name. */
  readonly fields: LogFields;
  /** Where a line goes; standard output by default, which Lambda sends to CloudWatch as it is. */
  readonly write?: (line: string) => void;
}

/** Makes a logger of one JSON object a line. */
export function createLogger({ level, fields, write = (line) => process.stdout.write(line) }: LoggerOptions): Logger {
  let context: LogFields = {};
  const line = (at: Level, message: string, more: object): void => {
    write(
      `${JSON.stringify({ time: new Date().toISOString(), level: at, message, ...fields, ...context, ...more })}\n`,
    );
  };
  const log = (at: Level, message: string, more: LogFields = {}): void => {
    if (ORDER[at] >= ORDER[level]) line(at, message, more);
  };
  return {
    debug: (message, more) => log('debug', message, more),
    info: (message, more) => log('info', message, more),
    warn: (message, more) => log('warn', message, more),
    error: (message, more) => log('error', message, more),
    summarize: (message, more, metrics) => line('info', message, { ...more, ...metrics }),
    annotate: (more) => {
      context = { ...context, ...more };
    },
    reset: () => {
      context = {};
    },
  };
}

/**
 * What a log line may say of an error: names, codes and places in our code. No message but one of `configuration`, which is
 * what the operator has to mend: those of parsers and upstreams quote what they were given.
 */
export function describeError(thrown: unknown): LogFields {
  if (!(thrown instanceof Error)) return { error: typeof thrown };
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
  const cause = thrown.cause instanceof Error ? thrown.cause : undefined;
  return {
    error: thrown.name,
    code,
    reason: misconfiguration(thrown) ?? misconfiguration(cause),
    at: placeOf(thrown),
    upstream: 'upstream' in thrown && typeof thrown.upstream === 'string' ? thrown.upstream : undefined,
    cause: cause?.name,
    causeCode: cause && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined,
  };
}

/** What is wrong with the configuration. Whoever finds that says it in names and references, never in values. */
function misconfiguration(error: Error | undefined): string | undefined {
  return error instanceof LambentError && error.code === 'configuration' ? error.message : undefined;
}

/** A frame of a stack: `at run (file:///var/task/chat.mjs:1:2)`, `at /var/task/chat.mjs:1:2`, `at node:fs:1:2`. */
const FRAME = /^ {4}at ((?:async )?(?:[^()]+ \()?(?:file:\/\/|node:|\/)[^()]+:\d+:\d+\)?)$/;

/** Where an error was made. A stack begins with the message, and a line of that may look like a frame. */
function placeOf({ stack = '', message }: Error): string | undefined {
  const from = stack.indexOf(`${message}\n    at `);
  if (from === -1) return undefined;
  const lines = stack.slice(from + message.length).split('\n');
  return lines.map((line) => FRAME.exec(line)?.[1]).find((place) => place !== undefined);
}
