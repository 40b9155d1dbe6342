import {
  countSlots,
  loadTrace,
  type Run,
  type RunResult,
  type TraceSource,
} from '../../test/simulation/placement/run.ts';
import type { PlacementThreads } from '../../test/simulation/placement/threads.ts';

/** The results of chat in one case, with or without bulk work. */
export interface Interference {
  readonly label: string;
  readonly chat: RunResult;
}

/** Typical bulk work: documents to summarise. */
const BULK = { inputTokens: 2_000, outputTokens: 300 };
/** Bulk dispatchers per slot of the fleet: more than can hold a slot. */
const DISPATCHERS_PER_SLOT = 1.1;

/** Simulates chat alone, and chat with enough bulk work to fill every slot that bulk work may use. */
export async function simulateInterference(
  threads: PlacementThreads,
  trace: TraceSource,
  base: Omit<Run, 'policy' | 'trace' | 'bulk' | 'reserve'>,
): Promise<Interference[]> {
  const slots = base.workers * countSlots(await loadTrace(trace), base.gpu);
  const createBulk = (yields: boolean) => ({ ...BULK, dispatchers: Math.ceil(DISPATCHERS_PER_SLOT * slots), yields });
  const cases: readonly { readonly label: string; readonly more: Pick<Run, 'bulk' | 'reserve'> }[] = [
    { label: 'chat alone', more: {} },
    { label: 'a quarter reserved, engines put bulk last', more: { bulk: createBulk(true) } },
    { label: 'a quarter reserved, engines take turns', more: { bulk: createBulk(false) } },
    { label: 'nothing reserved, engines put bulk last', more: { bulk: createBulk(true), reserve: 0 } },
    { label: 'nothing reserved, engines take turns', more: { bulk: createBulk(false), reserve: 0 } },
    { label: 'three quarters reserved, engines put bulk last', more: { bulk: createBulk(true), reserve: 0.75 } },
  ];
  return Promise.all(
    cases.map(async ({ label, more }) => ({
      label,
      chat: await threads.run({ ...base, trace, policy: 'lambent', ...more }),
    })),
  );
}
