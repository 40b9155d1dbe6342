import type { PersonalDataKind } from '../../access/personal-data.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions } from '../../inference/router.ts';
import type { PiiEntity } from '../guardrail/bedrock-guardrail.ts';
import { findGuardrail } from '../guardrail/get-guardrail.ts';
import { noteGuardrail } from '../guardrail/note-guardrail.ts';
import { reportFailure } from '../guardrail/report-failure.ts';
import type { FindNames } from './mask-request.ts';

/** The kinds by Bedrock's types. */
const KINDS: Readonly<Partial<Record<PiiEntity['type'], PersonalDataKind>>> = { NAME: 'name', ADDRESS: 'address' };

const TIMEOUT_MS = 5_000;

/**
 * Creates the function that finds names and addresses by guardrails of the registry: what any of them finds. It throws
 * LambentError as `Guardrail.findPersonalData`, and `configuration` for a guardrail that the registry doesn't have.
 */
export function createNameFinder(
  names: readonly string[],
  { guardrails: targets }: Pick<ModelRegistry, 'guardrails'>,
  { signal, telemetry }: Pick<GenerateOptions, 'signal' | 'telemetry'>,
): FindNames {
  async function search(name: string, texts: readonly string[]): Promise<readonly PiiEntity[]> {
    const guardrail = findGuardrail(targets, name);
    noteGuardrail(telemetry, name, guardrail);
    try {
      return await guardrail.findPersonalData(texts, { timeoutMs: TIMEOUT_MS, signal });
    } catch (thrown) {
      if (!signal.aborted) reportFailure(telemetry, name, thrown);
      throw thrown;
    }
  }

  return async (texts, kinds) => {
    const entities = await Promise.all(names.map((name) => search(name, texts)));
    return entities.flat().flatMap(({ type, value }) => {
      const kind = KINDS[type];
      return kind !== undefined && kinds.includes(kind) ? [{ kind, value }] : [];
    });
  };
}
