import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import { createItemIdGenerator } from '../openai/responses/stored-items.ts';
import type { Vault } from '../vault/vault.ts';
import { compactContext } from './context-compaction.ts';
import type { AnswerCompaction } from './endpoints.ts';
import type { GovernedOptions, GovernedRouter } from './governed-router.ts';
import { buildJobContext, type JobContextPorts } from './job-context.ts';

/** What compacting the context of a job depends on. */
export interface JobCompactionPorts extends JobContextPorts {
  readonly router: GovernedRouter;
  readonly vault: Vault;
}

/**
 * Completes the input of a job that asks for compaction with its stored items, compacted if they are too long.
 * @param options how the router is called
 * @throws LambentError as `addContext` and `compactContext` do
 */
export async function compactJobContext(
  job: Job,
  input: JobInput,
  { router, ...ports }: JobCompactionPorts,
  options: Pick<GovernedOptions, 'signal' | 'deadlineAt' | 'telemetry' | 'caller'>,
): Promise<{ readonly input: JobInput; readonly compaction?: AnswerCompaction }> {
  const { parsed, context } = await buildJobContext(job, input, ports);
  if (context.compaction === undefined) return { input: { ...input, generation: context.generation } };
  const createItemId = createItemIdGenerator(job.id, job.epoch);
  const { registry, vault } = ports;
  const summaryPorts = { router, registry, vault, tenant: job.tenant };
  const { generation, item, usage } = await compactContext(
    context.compaction,
    parsed,
    summaryPorts,
    // Streamed, so that an upstream stops when the connection is closed.
    { ...options, streamed: true, queued: true, heldBack: true, retriesThrottled: false },
    createItemId,
  );
  return { input: { ...input, generation }, compaction: { item, usage, createItemId } };
}
