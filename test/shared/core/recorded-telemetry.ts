import { createLogger } from '../../../shared/core/logger.ts';
import { createMetrics } from '../../../shared/core/metrics.ts';
import type { Telemetry } from '../../../shared/core/telemetry.ts';

/** Returns the telemetry of one request, and the lines that it writes, parsed. */
export function recordTelemetry(): Telemetry & { readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line));
  return {
    logger: createLogger({ level: 'debug', fields: {}, write }).forRequest({}),
    metrics: createMetrics('test', write).forRequest(),
    lines,
  };
}
