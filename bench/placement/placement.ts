import { FULL, QUICK, REFERENCE, runStudy } from '../../test/simulation/placement/plan.ts';
import { loadTrace, type TraceSource } from '../../test/simulation/placement/run.ts';
import { startPlacementThreads } from '../../test/simulation/placement/threads.ts';
import type { Report } from '../report/report.ts';
import type { BenchmarkRequest } from './command.ts';
import { simulateInterference } from './interference.ts';
import { toReport } from './report.ts';

/** Load of chat beside bulk work, as a share of Lambent's capacity: a fleet that is half used by day. */
const INTERFERENCE_SHARE = 0.5;
/** Number of chat requests beside bulk work. Small, because simulating hundreds of dispatchers takes long. */
const INTERFERENCE_REQUESTS = 3_000;
/** Seed of the synthetic trace. */
const SYNTHETIC_SEED = 1;

/**
 * Simulates placement policies on the given traces and on a synthetic trace, on which no setting was tuned.
 * @throws Error with the file and line of an invalid trace
 */
export async function benchPlacement({ traces, quick, seeds }: Omit<BenchmarkRequest, 'publish'>): Promise<Report> {
  const usual = quick ? QUICK : FULL;
  const plan = { ...usual, seeds: seeds ?? usual.seeds };
  const sources: TraceSource[] = [...traces.map((file) => ({ file })), { synthetic: SYNTHETIC_SEED }];
  // Loaded here before the threads load them, so that an invalid trace is reported once.
  await Promise.all(sources.map(loadTrace));
  await using threads = startPlacementThreads();
  const studies = [];
  for (const [index, source] of sources.entries()) {
    // Fleet sizes are compared on the first trace only.
    studies.push(await runStudy(threads, source, index === 0 ? plan : { ...plan, fleets: [] }));
  }
  const [first] = sources;
  const scale = Number((INTERFERENCE_SHARE * (studies[0]?.capacities.get('lambent')?.[0] ?? 1)).toPrecision(2));
  const beside =
    first === undefined
      ? []
      : await simulateInterference(threads, first, {
          ...REFERENCE,
          requests: Math.min(plan.requests ?? INTERFERENCE_REQUESTS, INTERFERENCE_REQUESTS),
          load: { scale, jitter: true, seed: 1 },
        });
  return toReport(studies, beside, scale);
}
