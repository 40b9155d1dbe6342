/** The shared state of a throttled model. Windows are numbered by the second since the epoch. */
export interface PaceState {
  /** The latest window in which a call was allowed or accepted. */
  readonly window: number;
  /** Calls that the window still allows. */
  readonly left: number;
  /** Calls that the model accepted in the window. */
  readonly accepted: number;
  /** Epoch milliseconds until which the model must not be called. */
  readonly restUntil: number;
  /** Epoch milliseconds of the last recorded throttled call. */
  readonly throttledAt: number;
}

/** The result of a conditional write. */
export interface PaceWrite {
  readonly isWritten: boolean;
  /** The state after the write, or the one that refused it; undefined if there is none. */
  readonly state: PaceState | undefined;
}

/** The shared states of throttled models. Its methods throw the store's errors. */
export interface PaceTable {
  /** Reads a model's state, eventually consistent. */
  read(model: string): Promise<PaceState | undefined>;
  /** Takes permits and adds accepted calls, if `window` is the latest, has as many permits left and the model doesn't rest. */
  take(
    model: string,
    take: { readonly window: number; readonly permits: number; readonly accepted: number; readonly now: number },
  ): Promise<PaceWrite>;
  /** Adds accepted calls to the latest window, unless that is older than `window`. */
  accept(model: string, window: number, accepted: number): Promise<PaceWrite>;
  /** Begins a window, if the latest is still `before` (undefined: there is no state). */
  open(
    model: string,
    window: Pick<PaceState, 'window' | 'left' | 'accepted' | 'throttledAt'>,
    before: number | undefined,
  ): Promise<PaceWrite>;
  /** Records a throttled call, and until when the model rests if that is longer than was known. */
  recordThrottled(model: string, call: Pick<PaceState, 'window' | 'restUntil' | 'throttledAt'>): Promise<void>;
}
