import type { Caller } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { type Admitted, type SubmitPorts, type Submitted, submit } from '../jobs/submit.ts';
import { findStorageLimits } from '../limits/storage-caps.ts';
import type { OpenStorageLimits } from './storage-limits.ts';

/** A request that is about to become a job, with what its project's limits need. */
export interface CountedRequest {
  readonly admitted: Admitted;
  readonly generation: GenerationRequest;
  readonly registry: ModelRegistry;
  readonly caller: Caller;
  readonly telemetry: Telemetry | undefined;
  /**
   * Counts the job under the limits on queued work, or throws. Called once the storage is reserved: what counts for a job that is never
   * created can't be taken back at once.
   */
  readonly enter?: () => Promise<void>;
}

/**
 * As `submit`, under the project's limits on what it stores. The new job has the upper bound that they count for it.
 * @throws LambentError `storage_limit_exceeded`; `overloaded` if the table of limits is not available; what `enter` and
 * `submit` throw
 */
export async function submitCounted(
  { admitted, generation, registry, caller, telemetry, enter = async () => {} }: CountedRequest,
  ports: SubmitPorts & { readonly openStorageLimits: OpenStorageLimits },
): Promise<Submitted> {
  const maxima = findStorageLimits(caller.policy);
  if (maxima === undefined) {
    await enter();
    return submit(admitted, ports);
  }
  const { tenant, id, input, conversation, expiresAt } = admitted;
  const [{ boundStored, boundTurn }, limits] = await Promise.all([
    import('./stored-size.ts'),
    ports.openStorageLimits(),
  ]);
  const answer = { input, generation, registry };
  const storedBytes = boundStored(answer, maxima);
  const turn = conversation === undefined ? { bytes: 0, items: 0 } : boundTurn(id, answer, maxima);
  const most = { bytes: storedBytes + turn.bytes, items: 1 + turn.items };
  let reserved: Awaited<ReturnType<typeof limits.reserve>>;
  try {
    reserved = await limits.reserve(tenant, { most, expiresAt }, maxima, telemetry);
  } catch (thrown) {
    // A repeated request gets its job, which is counted already.
    const isRefused = thrown instanceof LambentError && thrown.code === 'storage_limit_exceeded';
    if (!isRefused || (await ports.jobs.read(tenant, id)) === undefined) throw thrown;
  }
  const nothing = { bytes: 0, items: 0 };
  await enter().catch(async (thrown: unknown) => {
    await reserved?.settle(nothing);
    throw thrown;
  });
  if (reserved === undefined) return submit(admitted, ports);
  const counted = conversation === undefined ? {} : { turnBytes: turn.bytes, turnItems: turn.items };
  const submitted = await submit({ ...admitted, storedBytes, ...counted }, ports).catch(async (thrown: unknown) => {
    // In an outage a message is delivered again and again. A job that may exist counts.
    const job = await ports.jobs.read(tenant, id).catch(() => 'unknown' as const);
    if (job === undefined) await reserved.settle(nothing);
    throw thrown;
  });
  if (submitted.kind !== 'created') await reserved.settle(nothing);
  return submitted;
}
