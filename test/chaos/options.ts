import type { GpuSideOptions } from './gpu/side.ts';
import type { TormentOptions } from './torment.ts';

export type LambdaMode = 'standard' | 'managed';

export interface ChaosOptions extends Omit<TormentOptions, 'random'> {
  readonly jobs: number;
  /** Minutes after which no more jobs are begun, however many are left. */
  readonly minutes?: number;
  /** The same seed gives the same sequence of accidents; what they hit depends on timing. */
  readonly seed: number;
  /** How many times as short the service's recovery intervals are as in AWS. */
  readonly hurry: number;
  /** Jobs on their way at once. */
  readonly window: number;
  /** Invocations at once, of all functions in standard mode. */
  readonly concurrency: number;
  /** In managed mode, one process of a function serves many invocations at once; standard when absent. */
  readonly mode?: LambdaMode;
  /** GPU workers, which then do the jobs; a scripted upstream does when absent. */
  readonly gpu?: GpuSideOptions;
  readonly onProgress?: (line: string) => void;
}
