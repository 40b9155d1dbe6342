import { availableParallelism, cpus, totalmem } from 'node:os';

/** The machine on which figures were measured, published with them. */
export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
}

/** Returns the machine on which this process runs. */
export function readMachine(): Machine {
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

/** Formats a machine as one line, such as `2 cores (AMD EPYC), 8 GiB, linux x64, Node v24.1.0`. */
export function describeMachine({ cores, processor, memoryGiB, platform, node }: Machine): string {
  return `${cores} cores (${processor}), ${memoryGiB} GiB, ${platform}, Node ${node}`;
}
