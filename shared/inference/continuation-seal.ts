import type { Continuation, ReasoningPart } from './generation.ts';

/** The `provider` of every sealed continuation. */
export const SEALED = 'vault';

/** Reasoning whose provider needs it back. */
export interface ContinuedReasoning {
  readonly text: string;
  readonly continuation: Continuation;
}

/**
 * Seals the reasoning that callers keep and send back. Callers learn neither provider nor model from it, and nothing opens
 * it after its tenant was erased.
 */
export interface ContinuationSeal {
  /**
   * Seals reasoning for the tenant that gets it. The result's provider is `SEALED`.
   * @throws LambentError as `Vault.seal` does
   */
  seal(reasoning: ContinuedReasoning, tenant: string): Promise<Continuation>;
  /**
   * Opens a result of `seal`. Returns undefined for another tenant's or a changed one.
   * @throws LambentError `vault_unavailable`, `tenant_deleted`
   */
  open(continuation: Continuation, tenant: string): Promise<ContinuedReasoning | undefined>;
}

/** True for a result of `ContinuationSeal.seal`. */
export function isSealed({ provider }: Pick<Continuation, 'provider'>): boolean {
  return provider === SEALED;
}

/** True for reasoning of an earlier turn whose continuation is sealed. */
export function isSealedPart(part: { readonly type: string }): part is ReasoningPart & { continuation: Continuation } {
  return part.type === 'reasoning' && 'continuation' in part && isSealed(Object(part.continuation));
}
