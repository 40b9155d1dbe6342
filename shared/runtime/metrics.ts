export type Unit = 'Count' | 'Milliseconds' | 'Percent';

export interface Metrics {
  /** Publishes values under one set of dimensions. */
  publish(
    values: Readonly<Record<string, readonly [value: number, unit: Unit]>>,
    dimensions?: Readonly<Record<string, string>>,
  ): void;
}

/** CloudWatch namespace of everything that Lambent measures. */
export const NAMESPACE = 'Lambent';

/**
 * Metrics as CloudWatch's embedded metric format: one log line, no call.
 * @param functionName the dimension `FunctionName`, on every metric
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function createMetrics(
  functionName: string,
  write: (line: string) => void = (line) => process.stdout.write(line),
): Metrics {
  return {
    publish(values, dimensions = {}) {
      const named = { FunctionName: functionName, ...dimensions };
      const entries = Object.entries(values);
      const document = {
        _aws: {
          Timestamp: Date.now(),
          CloudWatchMetrics: [
            {
              Namespace: NAMESPACE,
              Dimensions: [Object.keys(named)],
              Metrics: entries.map(([Name, [, Unit]]) => ({ Name, Unit })),
            },
          ],
        },
        ...named,
        ...Object.fromEntries(entries.map(([name, [value]]) => [name, value])),
      };
      write(`${JSON.stringify(document)}\n`);
    },
  };
}
