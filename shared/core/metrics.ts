export type Unit = 'Count' | 'Milliseconds' | 'Percent';

/** Values by the name of their metric. */
export type MetricValues = Readonly<Record<string, readonly [value: number, unit: Unit]>>;
export type Dimensions = Readonly<Record<string, string>>;

export interface Metrics {
  /** Publishes values under one set of dimensions, on a line of their own. */
  publish(values: MetricValues, dimensions?: Dimensions): void;
  /**
   * Keeps values for the log line that `gathered` goes into: a line less is a write less for every request. A name may be
   * gathered once a line.
   */
  gather(values: MetricValues, dimensions?: Dimensions): void;
  /** What was gathered, as fields of one log line; forgets it. */
  gathered(): EmbeddedMetrics;
}

/** Fields that make CloudWatch read metrics from a log line, whatever other fields it has. */
export interface EmbeddedMetrics {
  readonly _aws: { readonly Timestamp: number; readonly CloudWatchMetrics: readonly object[] };
  readonly [field: string]: unknown;
}

/** CloudWatch namespace of everything that Lambent measures. */
export const NAMESPACE = 'Lambent';

/**
 * Metrics as CloudWatch's embedded metric format: in a log line, without a call.
 * @param functionName the dimension `FunctionName`, on every metric
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function createMetrics(
  functionName: string,
  write: (line: string) => void = (line) => process.stdout.write(line),
): Metrics {
  let waiting: Entry[] = [];
  const entryOf = (values: MetricValues, dimensions: Dimensions = {}): Entry => ({
    values,
    dimensions: { FunctionName: functionName, ...dimensions },
  });
  return {
    publish: (values, dimensions) => write(`${JSON.stringify(embedded([entryOf(values, dimensions)]))}\n`),
    gather: (values, dimensions) => {
      waiting.push(entryOf(values, dimensions));
    },
    gathered() {
      const entries = waiting;
      waiting = [];
      return embedded(entries);
    },
  };
}

interface Entry {
  readonly values: MetricValues;
  readonly dimensions: Dimensions;
}

/** A directive for each set of dimensions, and the values that the directives name, side by side. */
function embedded(entries: readonly Entry[]): EmbeddedMetrics {
  const fields = entries.map(({ values, dimensions }) => ({
    ...dimensions,
    ...Object.fromEntries(Object.entries(values).map(([name, [value]]) => [name, value])),
  }));
  return {
    _aws: {
      Timestamp: Date.now(),
      CloudWatchMetrics: entries.map(({ values, dimensions }) => ({
        Namespace: NAMESPACE,
        Dimensions: [Object.keys(dimensions)],
        Metrics: Object.entries(values).map(([Name, [, Unit]]) => ({ Name, Unit })),
      })),
    },
    ...Object.assign({}, ...fields),
  };
}
