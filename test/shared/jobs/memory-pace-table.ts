import type { PaceState, PaceTable, PaceWrite } from '../../../shared/jobs/pace-table.ts';

/** Creates the states of throttled models in memory, for the simulation. */
export function createMemoryPaceTable(): PaceTable {
  const states = new Map<string, PaceState>();
  function write(model: string, isAllowed: boolean, change: () => PaceState): PaceWrite {
    if (isAllowed) states.set(model, change());
    return { isWritten: isAllowed, state: states.get(model) };
  }
  return {
    read: async (model) => states.get(model),
    async take(model, { window, permits, accepted, now }) {
      const state = states.get(model) ?? NO_STATE;
      const isAllowed = state.window === window && state.left >= permits && state.restUntil <= now;
      return write(model, isAllowed, () => ({
        ...state,
        left: state.left - permits,
        accepted: state.accepted + accepted,
      }));
    },
    async accept(model, window, accepted) {
      const state = states.get(model) ?? NO_STATE;
      return write(model, state.window >= window, () => ({ ...state, accepted: state.accepted + accepted }));
    },
    async open(model, { throttledAt, ...window }, before) {
      const state = states.get(model);
      return write(model, state?.window === before, () => ({ restUntil: 0, throttledAt, ...state, ...window }));
    },
    async recordThrottled(model, { window, restUntil, throttledAt }) {
      const state = states.get(model) ?? { window, left: 0, accepted: 0, restUntil };
      states.set(model, { ...state, throttledAt, restUntil: Math.max(state.restUntil, restUntil) });
    },
  };
}

const NO_STATE: PaceState = { window: -1, left: 0, accepted: 0, restUntil: 0, throttledAt: 0 };
