import type { FaultInjectionOptions } from './fault-injection.ts';
import type { GpuSideOptions } from './gpu/gpu-side.ts';

export type LambdaMode = 'standard' | 'managed';

export interface ChaosOptions extends Omit<FaultInjectionOptions, 'random'> {
  readonly jobs: number;
  /** Minutes after which no more jobs are started. */
  readonly minutes?: number;
  /**
   * Minutes after which no more faults are injected, because a busy machine may need longer to start a process than passes between
   * two faults. Absent: faults are injected until all jobs are accepted.
   */
  readonly faultMinutes?: number;
  /** The same seed gives the same sequence of faults; what they hit depends on timing. */
  readonly seed: number;
  /** Maximum of unfinished jobs. */
  readonly window: number;
  /** Maximum of concurrent invocations of all functions, in standard mode. */
  readonly concurrency: number;
  /** In managed mode, one process of a function serves many invocations at once. Absent: standard. */
  readonly mode?: LambdaMode;
  /** Runs the jobs on GPU workers. Absent: on a scripted upstream. */
  readonly gpu?: GpuSideOptions;
  readonly onProgress?: (line: string) => void;
}
