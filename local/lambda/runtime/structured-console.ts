import { format } from 'node:util';

const LEVELS = {
  trace: 'TRACE',
  debug: 'DEBUG',
  info: 'INFO',
  log: 'INFO',
  warn: 'WARN',
  error: 'ERROR',
} as const;

/**
 * Makes `console` write one JSON object per line, with the id of the invocation that wrote it. AWS uses this format for
 * all functions of Lambda Managed Instances, because lines of concurrent invocations are interleaved. Text that a
 * function writes to `process.stdout` directly is not changed.
 * @param getRequestId returns the id of the current invocation; undefined outside of any
 * @see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html#node-js-logging-advanced
 */
export function installStructuredConsole(getRequestId: () => string | undefined): void {
  for (const [method, level] of Object.entries(LEVELS)) {
    Object.assign(console, {
      [method]: (...values: unknown[]) => void process.stdout.write(`${formatLine(level, getRequestId(), values)}\n`),
    });
  }
}

function formatLine(level: string, requestId: string | undefined, values: readonly unknown[]): string {
  const line = { timestamp: new Date().toISOString(), level, requestId };
  const [single] = values;
  if (values.length === 1) {
    try {
      return JSON.stringify({ ...line, message: single }, describeErrors);
    } catch {
      // JSON can't represent a cycle or a BigInt, so the value is formatted as text below.
    }
  }
  const error = values.find((value) => value instanceof Error);
  return JSON.stringify({
    ...line,
    message: format(...values),
    ...(error === undefined
      ? {}
      : { errorType: error.name, errorMessage: error.message, stackTrace: error.stack?.split('\n') }),
  });
}

function describeErrors(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  return { errorType: value.name, errorMessage: value.message, stackTrace: value.stack?.split('\n'), ...value };
}
