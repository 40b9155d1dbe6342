import {
  SWEEP_PURPOSES,
  type SweepPorts,
  type SweepPurpose,
  type Swept,
  sweepPurpose,
} from '../../../shared/jobs/sweep.ts';

/**
 * Makes one pass for every purpose. The sweep function repeats each purpose by itself.
 * @param until as for `sweepPurpose`
 */
export async function sweepOnce(
  ports: SweepPorts,
  until = Number.POSITIVE_INFINITY,
): Promise<Readonly<Record<SweepPurpose, Swept>>> {
  const results = await Promise.all(
    SWEEP_PURPOSES.map(async (purpose) => [purpose, await sweepPurpose(purpose, ports, until)] as const),
  );
  return Object.fromEntries(results) as Record<SweepPurpose, Swept>;
}
