import { FULL, QUICK, REFERENCE, study } from '../../test/simulation/placement/plan.ts';
import { loadTrace, type TraceSource } from '../../test/simulation/placement/run.ts';
import { startThreads } from '../../test/simulation/placement/threads.ts';
import type { Report } from '../report/report.ts';
import type { BenchmarkRequest } from './command.ts';
import { simulateInterference } from './interference.ts';
import { toReport } from './report.ts';

/** Of Lambent's capacity, at which bulk work is added: a fleet that is half in use by day. */
const INTERFERENCE_SHARE = 0.5;
/** Requests of it: hundreds of dispatchers that look for slots take longer to simulate than chat does. */
const INTERFERENCE_REQUESTS = 3_000;
/** Of the trace that is made up. */
const SYNTHETIC_SEED = 1;

/**
 * Simulates placement policies side by side on traces, and on one that is made up, on which nothing was tuned.
 * @throws Error that names the file and the line of a trace that can't be understood
 */
export async function benchPlacement({ traces, quick, seeds }: Omit<BenchmarkRequest, 'publish'>): Promise<Report> {
  const usual = quick ? QUICK : FULL;
  const plan = { ...usual, seeds: seeds ?? usual.seeds };
  const sources: TraceSource[] = [...traces.map((file) => ({ file })), { synthetic: SYNTHETIC_SEED }];
  // Before any thread is told of them: what is wrong with a trace is said once.
  await Promise.all(sources.map(loadTrace));
  await using threads = startThreads();
  const studies = [];
  for (const [index, source] of sources.entries()) {
    // Sizes of the fleet are compared on the first trace.
    studies.push(await study(threads, source, index === 0 ? plan : { ...plan, fleets: [] }));
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
