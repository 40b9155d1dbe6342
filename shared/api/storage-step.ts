import type { CompletionStep, EndedJob } from '../jobs/completion.ts';
import type { GiveBackStorage, JobStore } from '../jobs/ports.ts';
import { countStored } from '../jobs/transitions.ts';
import type { StorageAmount } from './storage-limits.ts';

/** Creates the completion step that counts what an ended job has stored instead of its upper bound. */
export function createStorageStep(jobs: JobStore, giveBack: GiveBackStorage): CompletionStep {
  return async (ended) => {
    const { tenant, id, storedBytes, turnBytes = 0, turnItems = 0, input, output, expiresAt } = ended.job;
    if (storedBytes === undefined) return;
    const stored = input.sizeBytes + (output?.sizeBytes ?? 0);
    const turn = await measureOwnTurn(ended);
    const { guard, change } = countStored({ ...ended.job, storedBytes }, stored);
    if ((await jobs.update(tenant, id, guard, change)) === undefined) return;
    const unused = { bytes: storedBytes + turnBytes - stored - turn.bytes, items: turnItems - turn.items };
    await giveBack(tenant, unused, expiresAt);
  };
}

/** Returns the size of what the job has added to its conversation, if that is not counted yet. */
async function measureOwnTurn({ job, input, output }: EndedJob): Promise<StorageAmount> {
  if (job.turnBytes === undefined || input === undefined || output === undefined) return { bytes: 0, items: 0 };
  const { measureTurn } = await import('./stored-size.ts');
  return measureTurn(job.id, input, output);
}
