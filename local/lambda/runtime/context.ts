import type { IncomingHttpHeaders } from 'node:http';
import { maxConcurrency, requireVariable } from './variables.ts';

/** The last argument of every handler. */
export type Context = ReturnType<typeof createContext>;

/** The data that all contexts share, read once: environment variables are slow to read. */
const ENVIRONMENT_DATA = {
  functionName: requireVariable('AWS_LAMBDA_FUNCTION_NAME'),
  functionVersion: requireVariable('AWS_LAMBDA_FUNCTION_VERSION'),
  memoryLimitInMB: requireVariable('AWS_LAMBDA_FUNCTION_MEMORY_SIZE'),
  logGroupName: requireVariable('AWS_LAMBDA_LOG_GROUP_NAME'),
  logStreamName: requireVariable('AWS_LAMBDA_LOG_STREAM_NAME'),
};

/**
 * Creates a handler's context from the headers of its invocation. If one process serves many invocations, the context
 * contains the trace id. In standard Lambda the variable `_X_AMZN_TRACE_ID` does.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-nodejs-runtime.html
 */
export function createContext(headers: IncomingHttpHeaders) {
  const deadlineMs = Number(headers['lambda-runtime-deadline-ms']);
  const clientContext = headers['lambda-runtime-client-context'];
  return {
    awsRequestId: String(headers['lambda-runtime-aws-request-id']),
    invokedFunctionArn: String(headers['lambda-runtime-invoked-function-arn']),
    ...ENVIRONMENT_DATA,
    clientContext: typeof clientContext === 'string' ? (JSON.parse(clientContext) as unknown) : undefined,
    identity: undefined,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
    ...(maxConcurrency === undefined ? {} : { xRayTraceId: readTraceId(headers) }),
  };
}

/** Returns the invocation's X-Ray trace header; empty if it has none. */
export function readTraceId(headers: IncomingHttpHeaders): string {
  return String(headers['lambda-runtime-trace-id'] ?? '');
}
