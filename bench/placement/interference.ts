import type { Run, RunResult, TraceSource } from './run.ts';
import type { Threads } from './threads.ts';

/** One way to run bulk work beside chat. */
export interface Interference {
  readonly label: string;
  readonly chat: RunResult;
}

/**
 * Bulk work as it could be: documents to summarise, one after another by more dispatchers than may hold a slot, so
 * that there always is one more.
 */
const BULK = { dispatchers: 400, inputTokens: 2_000, outputTokens: 300 };

/** Runs chat at a part of its capacity alone, and with bulk work in all slots that it may have, and more. */
export async function interfere(
  threads: Threads,
  trace: TraceSource,
  base: Omit<Run, 'policy' | 'trace' | 'bulk' | 'reserve'>,
): Promise<Interference[]> {
  const cases: readonly { readonly label: string; readonly more: Pick<Run, 'bulk' | 'reserve'> }[] = [
    { label: 'chat alone', more: {} },
    { label: 'a quarter reserved, engines put bulk last', more: { bulk: { ...BULK, yields: true } } },
    { label: 'a quarter reserved, engines take turns', more: { bulk: { ...BULK, yields: false } } },
    { label: 'nothing reserved, engines put bulk last', more: { bulk: { ...BULK, yields: true }, reserve: 0 } },
    { label: 'nothing reserved, engines take turns', more: { bulk: { ...BULK, yields: false }, reserve: 0 } },
    {
      label: 'three quarters reserved, engines put bulk last',
      more: { bulk: { ...BULK, yields: true }, reserve: 0.75 },
    },
  ];
  return Promise.all(
    cases.map(async ({ label, more }) => ({
      label,
      chat: await threads.run({ ...base, trace, policy: 'lambent', ...more }),
    })),
  );
}
