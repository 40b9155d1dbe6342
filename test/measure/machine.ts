import { availableParallelism, cpus, totalmem } from 'node:os';

/** What a figure depends on, printed and published with it. */
export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
}

/** The machine this process runs on. */
export function readMachine(): Machine {
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

/** One line, such as `2 cores (AMD EPYC), 8 GiB, linux x64, Node v24.1.0`. */
export function describeMachine({ cores, processor, memoryGiB, platform, node }: Machine): string {
  return `${cores} cores (${processor}), ${memoryGiB} GiB, ${platform}, Node ${node}`;
}
