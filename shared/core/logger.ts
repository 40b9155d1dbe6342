import { LambentError } from './errors.ts';
import type { EmbeddedMetrics } from './metrics.ts';

/** A value that may be logged: an id, a number or a name. Never content, keys or headers. */
export type LogValue = string | number | boolean | null | undefined;
export type LogFields = Readonly<Record<string, LogValue>>;

export type Level = 'debug' | 'info' | 'warn' | 'error';
const ORDER: Readonly<Record<Level, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Writes log lines: one JSON object each. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** The logger of one request, message or event. Its annotations appear on its own lines only. */
export interface RequestLogger extends Logger {
  /** Adds fields to every later line of this logger. */
  annotate(fields: LogFields): void;
  /**
   * Writes a line at level `info` that `LOG_LEVEL` never suppresses: the request's summary, which carries its metrics, or a line
   * that is recorded.
   */
  summarize(message: string, fields: LogFields, metrics?: EmbeddedMetrics): void;
}

/** The logger of a process. It has no annotations of its own: requests run concurrently and each gets a logger. */
export interface ProcessLogger extends Logger {
  /** Returns a logger for one request, whose lines carry `fields`. */
  forRequest(fields: LogFields): RequestLogger;
}

export interface LoggerOptions {
  readonly level: Level;
  /** Fields on every line, such as the function's name. */
  readonly fields: LogFields;
  /** Writes one line, line break included. Default: standard output, which Lambda sends to CloudWatch unchanged. */
  readonly write?: (line: string) => void;
}

/** Creates the logger of a process. */
export function createLogger({
  level,
  fields,
  write = (line) => process.stdout.write(line),
}: LoggerOptions): ProcessLogger {
  const writeLine = (at: Level, message: string, more: object): void => {
    write(`${JSON.stringify({ time: new Date().toISOString(), level: at, message, ...fields, ...more })}\n`);
  };
  return {
    ...createLeveledLogger(level, writeLine),
    forRequest(requestFields) {
      let annotations = requestFields;
      const writeAnnotated: WriteLine = (at, message, more) => writeLine(at, message, { ...annotations, ...more });
      return {
        ...createLeveledLogger(level, writeAnnotated),
        summarize: (message, more, metrics) => writeAnnotated('info', message, { ...more, ...metrics }),
        annotate: (more) => {
          annotations = { ...annotations, ...more };
        },
      };
    },
  };
}

type WriteLine = (at: Level, message: string, more: object) => void;

function createLeveledLogger(level: Level, write: WriteLine): Logger {
  const at =
    (own: Level) =>
    (message: string, more: LogFields = {}): void => {
      if (ORDER[own] >= ORDER[level]) write(own, message, more);
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Returns a function that logs an error as a warning, for errors that fail neither the request nor the job. */
export function createFailureLog(logger: Logger): (message: string, thrown: unknown) => void {
  return (message, thrown) => logger.warn(message, describeError(thrown));
}

/**
 * Returns the loggable fields of an error: names, codes and where it was created. Never its message, because parsers
 * and upstreams quote their input in it. The exception is `configuration`, whose message the operator needs.
 */
export function describeError(thrown: unknown): LogFields {
  if (!(thrown instanceof Error)) return { error: typeof thrown };
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
  const cause = thrown.cause instanceof Error ? thrown.cause : undefined;
  return {
    error: thrown.name,
    code,
    reason: getConfigurationMessage(thrown) ?? getConfigurationMessage(cause),
    at: findLocation(thrown),
    upstream: 'upstream' in thrown && typeof thrown.upstream === 'string' ? thrown.upstream : undefined,
    cause: cause?.name,
    causeCode: cause && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined,
  };
}

/** Returns the message of a configuration error, which holds names and references, never values. */
function getConfigurationMessage(error: Error | undefined): string | undefined {
  return error instanceof LambentError && error.code === 'configuration' ? error.message : undefined;
}

/** A stack frame: `at run (file:///var/task/chat.mjs:1:2)`, `at /var/task/chat.mjs:1:2`, `at node:fs:1:2`. */
const FRAME = /^ {4}at ((?:async )?(?:[^()]+ \()?(?:file:\/\/|node:|\/)[^()]+:\d+:\d+\)?)$/;

/** Returns where an error was created. Skips the message at the head of the stack, whose lines may look like frames. */
function findLocation({ stack = '', message }: Error): string | undefined {
  const from = stack.indexOf(`${message}\n    at `);
  if (from === -1) return undefined;
  const lines = stack.slice(from + message.length).split('\n');
  return lines.map((line) => FRAME.exec(line)?.[1]).find((location) => location !== undefined);
}
