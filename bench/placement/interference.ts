import {
  countSlots,
  loadTrace,
  type Run,
  type RunResult,
  type TraceSource,
} from '../../test/simulation/placement/run.ts';
import type { Threads } from '../../test/simulation/placement/threads.ts';

/** A case of chat with or without bulk work. */
export interface Interference {
  readonly label: string;
  readonly chat: RunResult;
}

/** Typical bulk work: documents to summarise. */
const BULK = { inputTokens: 2_000, outputTokens: 300 };
/** Bulk dispatchers per slot of the fleet: always more than may hold a slot. */
const DISPATCHERS_A_SLOT = 1.1;

/** Simulates chat alone and chat with enough bulk work to fill every slot that bulk work may have. */
export async function simulateInterference(
  threads: Threads,
  trace: TraceSource,
  base: Omit<Run, 'policy' | 'trace' | 'bulk' | 'reserve'>,
): Promise<Interference[]> {
  const slots = base.workers * countSlots(await loadTrace(trace), base.gpu);
  const beside = (yields: boolean) => ({ ...BULK, dispatchers: Math.ceil(DISPATCHERS_A_SLOT * slots), yields });
  const cases: readonly { readonly label: string; readonly more: Pick<Run, 'bulk' | 'reserve'> }[] = [
    { label: 'chat alone', more: {} },
    { label: 'a quarter reserved, engines put bulk last', more: { bulk: beside(true) } },
    { label: 'a quarter reserved, engines take turns', more: { bulk: beside(false) } },
    { label: 'nothing reserved, engines put bulk last', more: { bulk: beside(true), reserve: 0 } },
    { label: 'nothing reserved, engines take turns', more: { bulk: beside(false), reserve: 0 } },
    { label: 'three quarters reserved, engines put bulk last', more: { bulk: beside(true), reserve: 0.75 } },
  ];
  return Promise.all(
    cases.map(async ({ label, more }) => ({
      label,
      chat: await threads.run({ ...base, trace, policy: 'lambent', ...more }),
    })),
  );
}
