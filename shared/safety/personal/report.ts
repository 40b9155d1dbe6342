import { PERSONAL_DATA_KINDS } from '../../access/personal-data.ts';
import { toCounts } from '../../core/metrics.ts';
import type { Telemetry } from '../../core/telemetry.ts';
import { toLabel } from './detector.ts';

/** The metrics by the labels of the kinds. Custom patterns share one. */
const METRICS: ReadonlyMap<string, string> = new Map(
  PERSONAL_DATA_KINDS.map((kind) => [toLabel(kind), `PersonalData${kind[0]?.toUpperCase()}${kind.slice(1)}`]),
);
const CUSTOM_METRIC = 'PersonalDataCustom';

/** What was found, by label, by request: one has several calls of models if its context is summarized. */
const found = new WeakMap<Telemetry, Map<string, number>>();

/**
 * Counts the values that were found, by kind, as metrics and as a field of the request's log lines, with those of its calls before.
 * @param counts by label
 */
export function reportFound(telemetry: Telemetry | undefined, counts: ReadonlyMap<string, number>): void {
  if (telemetry === undefined || counts.size === 0) return;
  const sums: Record<string, number> = {};
  const all = found.get(telemetry) ?? new Map<string, number>();
  found.set(telemetry, all);
  for (const [label, count] of counts) {
    all.set(label, (all.get(label) ?? 0) + count);
    const metric = METRICS.get(label) ?? CUSTOM_METRIC;
    sums[metric] = (sums[metric] ?? 0) + count;
  }
  telemetry.logger.annotate({ personalData: [...all].map(([label, count]) => `${label}:${count}`).join(' ') });
  telemetry.metrics.gather(toCounts(sums));
}
