import { createLogger, type Level, type LogFields, type RequestLogger } from './logger.ts';
import { createMetrics, type Metrics, type RequestMetrics } from './metrics.ts';

/** Where one request, message or event writes its log lines and metrics. Passed along with its other call options. */
export interface Telemetry {
  readonly logger: RequestLogger;
  readonly metrics: RequestMetrics;
}

/** Logging and metrics of a process, which may serve many requests at once. */
export interface ProcessTelemetry {
  /** For events that no single request causes, such as calls that requests share. */
  readonly metrics: Metrics;
  /** Creates the telemetry of one request, whose log lines carry `fields`. */
  forRequest(fields: LogFields): Telemetry;
}

/** Creates the telemetry of a function from its settings. */
export function createTelemetry(config: {
  readonly AWS_LAMBDA_FUNCTION_NAME: string;
  readonly LOG_LEVEL: Level;
}): ProcessTelemetry {
  const functionName = config.AWS_LAMBDA_FUNCTION_NAME;
  const logger = createLogger({ level: config.LOG_LEVEL, fields: { function: functionName } });
  const metrics = createMetrics(functionName);
  return {
    metrics,
    forRequest: (fields) => ({ logger: logger.forRequest(fields), metrics: metrics.forRequest() }),
  };
}
