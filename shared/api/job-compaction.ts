import { toAskedError } from '../core/asked-error.ts';
import { describeError } from '../core/logger.ts';
import { isObject } from '../core/objects.ts';
import type { GenerationRequest, Usage } from '../inference/generation.ts';
import { type EndedAnswer, reportEnd } from '../inference/observe.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { unlessUnreadable } from '../jobs/completion.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import type { CompactionItem } from '../openai/responses/item-builders.ts';
import { createItemIdGenerator } from '../openai/responses/stored-items.ts';
import type { Vault } from '../vault/vault.ts';
import { openCompaction } from './compaction.ts';
import { compactContext } from './context-compaction.ts';
import type { GovernedOptions, GovernedRouter } from './governed-router.ts';
import type { CompactedInput } from './job-answer.ts';
import { buildJobContext, type JobContextPorts } from './job-context.ts';

/** What compacting the context of a job depends on. */
export interface JobCompactionPorts extends JobContextPorts {
  readonly router: GovernedRouter;
  readonly vault: Vault;
}

type Call = Pick<GovernedOptions, 'signal' | 'deadlineAt' | 'telemetry' | 'caller'>;

/** A compaction that a failed attempt has made. The record is sealed, and removed when the job ends. */
interface KeptCompaction extends Pick<GenerationRequest, 'moderation'> {
  readonly item: CompactionItem;
  readonly usage: Usage;
  /** The answers that the summary is made of, for the log line of the attempt that answers. */
  readonly answers: readonly KeptAnswer[];
}

interface KeptAnswer extends Pick<EndedAnswer, 'whole' | 'usage' | 'serviceTier'> {
  readonly model: string;
  /** The index of the target within its alias. */
  readonly target: number;
}

/**
 * Completes the input of a job that asks for compaction with its stored items, compacted if they are too long. An attempt whose
 * answer fails keeps the compaction for the next one, because its summary is paid for: a limit may allow only one call at a time.
 * @param options how the router is called
 * @throws LambentError as `addContext` and `compactContext` do
 */
export async function compactJobContext(
  job: Job,
  input: JobInput,
  { router, ...ports }: JobCompactionPorts,
  options: Call,
): Promise<CompactedInput> {
  const { parsed, context } = await buildJobContext(job, input, ports);
  const plan = context.compaction;
  if (plan === undefined) return { input: { ...input, generation: context.generation } };
  const createItemId = createItemIdGenerator(job.id, job.epoch);
  const kept = await findKept(job, ports, options);
  if (kept !== undefined) {
    const { item, usage, moderation } = kept;
    const { request } = plan.rebuild(await openCompaction({ ...item }, job.tenant, ports.vault));
    await reportKept(kept, ports.registry, options);
    const generation = { ...request, ...(moderation && { moderation }) };
    return { input: { ...input, generation }, compaction: { item, usage, createItemId } };
  }
  const answers: EndedAnswer[] = [];
  const { registry, vault } = ports;
  const summaryPorts = { router, registry, vault, tenant: job.tenant };
  const { generation, item, usage } = await compactContext(
    plan,
    parsed,
    summaryPorts,
    {
      ...options,
      // Streamed, so that an upstream stops when the connection is closed.
      ...{ streamed: true, queued: true, heldBack: true, retriesThrottled: false },
      onEnd: (answer) => answers.push(answer),
    },
    createItemId,
  );
  const { moderation } = generation;
  return {
    input: { ...input, generation },
    compaction: { item, usage, createItemId },
    keep: async (thrown) => {
      const record = { item, usage, answers: answers.map(toKeptAnswer), ...(moderation && { moderation }) };
      await keepCompaction(job, record, ports, options);
      return toAskedError(thrown);
    },
  };
}

const nameOf = ({ tenant, id }: Job) => ({ tenant, id, kind: 'compaction', epoch: 0 }) as const;

async function keepCompaction(
  job: Job,
  record: KeptCompaction,
  { bodies }: JobContextPorts,
  { signal, telemetry }: Call,
): Promise<void> {
  // The attempt was stopped, and may have no time left. The job counts it.
  if (signal.aborted) return;
  await bodies.write({ ...nameOf(job), expiresAt: job.expiresAt }, record).catch((thrown: unknown) => {
    telemetry?.logger.warn('compaction not kept', describeError(thrown));
  });
}

async function findKept(
  job: Job,
  { bodies }: JobContextPorts,
  { telemetry }: Call,
): Promise<KeptCompaction | undefined> {
  if (job.epoch === 1) return undefined;
  const found = await unlessUnreadable(
    () => bodies.find(nameOf(job), { place: 's3' }),
    (thrown) => telemetry?.logger.warn('kept compaction not readable', describeError(thrown)),
  );
  return isKept(found) ? found : undefined;
}

/** Distinguishes types only: this service wrote the record, and the vault opened it. */
function isKept(body: unknown): body is KeptCompaction {
  return isObject(body) && isObject(body['item']) && isObject(body['usage']) && Array.isArray(body['answers']);
}

function toKeptAnswer({ candidate, whole, usage, serviceTier }: EndedAnswer): KeptAnswer {
  const { aliasName, alias, target } = candidate;
  return { model: aliasName, target: alias.targets.indexOf(target), whole, usage, serviceTier };
}

/** Adds the tokens and the cost of a summary to the line, because that of its own attempt had none. The metrics had them. */
async function reportKept({ answers }: KeptCompaction, registry: ModelRegistry, { telemetry }: Call): Promise<void> {
  for (const { model, target: index, ...answer } of answers) {
    const alias = registry.models[model];
    const target = alias?.targets[index];
    if (alias === undefined || target === undefined) continue;
    await reportEnd(telemetry, { candidate: { aliasName: model, alias, target }, ...answer }, true);
  }
}
