export type Unit = 'Count' | 'Milliseconds' | 'Percent' | 'None';

/** Values by metric name. */
export type MetricValues = Readonly<Record<string, readonly [value: number, unit: Unit]>>;
export type Dimensions = Readonly<Record<string, string>>;
/**
 * Dimensions of a metric besides the function's name, or `stage` for a metric that all functions of a stage share under
 * the single dimension `Stage`. An alarm on such a metric costs as much as one on a single function.
 */
export type Scope = Dimensions | 'stage';

/** Publishes metrics. */
export interface Metrics {
  /** Publishes values under one set of dimensions, on a log line of their own. */
  publish(values: MetricValues, scope?: Scope): void;
}

/** The metrics of one request, message or event. */
export interface RequestMetrics extends Metrics {
  /**
   * Keeps values for the request's summary line, which saves a line per request. A line can hold each metric name only
   * once, so values under a name that is already kept are published on a line of their own.
   */
  gather(values: MetricValues, dimensions?: Dimensions): void;
  /** Returns the gathered values as fields of one log line, and clears them. */
  takeGathered(): EmbeddedMetrics;
  /** Publishes the gathered values on a line of their own, if there are any, and clears them. */
  flush(): void;
}

/** The metrics of a process: for events that no single request causes, such as calls that requests share. */
export interface ProcessMetrics extends Metrics {
  /** Returns the metrics of one request. */
  forRequest(): RequestMetrics;
}

/** Fields from which CloudWatch reads metrics. The log line may have any other fields. */
export interface EmbeddedMetrics {
  readonly _aws: { readonly Timestamp: number; readonly CloudWatchMetrics: readonly object[] };
  readonly [field: string]: unknown;
}

/**
 * Returns the counts that are not zero as metric values. A metric costs only in hours in which it is published, and
 * alarms count missing data as zero.
 */
export function toCounts(counts: Readonly<Record<string, number>>): MetricValues {
  const positive = Object.entries(counts).filter(([, count]) => count !== 0);
  return Object.fromEntries(positive.map(([name, count]) => [name, [count, 'Count'] as const]));
}

/** CloudWatch namespace of all Lambent metrics. */
export const NAMESPACE = 'Lambent';

/**
 * Creates the metrics of a process, written in CloudWatch's embedded metric format: log lines that need no API call.
 * @param functionName value of the dimension `FunctionName`, such as `lambent-dev-chat` or `lambent-dev-chat-managed`, whose stage
 * is `lambent-dev`
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function createMetrics(
  functionName: string,
  write: (line: string) => void = (line) => process.stdout.write(line),
): ProcessMetrics {
  const stage = functionName.replace(/-[^-]+(?:-managed)?$/, '');
  const toEntry = (values: MetricValues, scope: Scope = {}): Entry => ({
    values,
    dimensions: scope === 'stage' ? { Stage: stage } : { FunctionName: functionName, ...scope },
  });
  const writeEntries = (entries: readonly Entry[]): void => write(`${JSON.stringify(embed(entries))}\n`);
  const publish: Metrics['publish'] = (values, scope) => writeEntries([toEntry(values, scope)]);
  return {
    publish,
    forRequest() {
      let gathered: Entry[] = [];
      const isGathered = (name: string): boolean => gathered.some(({ values }) => Object.hasOwn(values, name));
      const take = (): Entry[] => {
        const entries = gathered;
        gathered = [];
        return entries;
      };
      return {
        publish,
        gather(values, dimensions) {
          if (Object.keys(values).some(isGathered)) publish(values, dimensions);
          else gathered.push(toEntry(values, dimensions));
        },
        takeGathered: () => embed(take()),
        flush() {
          if (gathered.length > 0) writeEntries(take());
        },
      };
    },
  };
}

interface Entry {
  readonly values: MetricValues;
  readonly dimensions: Dimensions;
}

/** Returns one directive per set of dimensions, and the values that the directives name as fields beside them. */
function embed(entries: readonly Entry[]): EmbeddedMetrics {
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
