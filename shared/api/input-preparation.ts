import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import { needsCompaction } from './job-content.ts';
import type { JobContextPorts } from './job-context.ts';

/**
 * Creates the function that completes a job's input before its model is asked. Jobs without stored items before them load no
 * code for it, and `compactJobContext` completes those that ask for compaction. An earlier version stored the messages of
 * each job with its input.
 */
export function createInputPreparation(ports: JobContextPorts) {
  return async (job: Job, input: JobInput): Promise<JobInput> => {
    const { context } = input;
    if (context === undefined || needsCompaction(input.body)) return input;
    const { addContext } = await import('./job-context.ts');
    return addContext(job, { ...input, context }, ports);
  };
}
