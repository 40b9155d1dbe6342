import type { ContinuationSeal } from './continuation-seal.ts';
import type { OpenVault } from './sealed-reasoning.ts';

/** Creates a seal under the tenants' keys. Its code is loaded with the first continuation. */
export function createContinuationSeal(openVault: OpenVault): ContinuationSeal {
  const load = () => import('./sealed-reasoning.ts');
  return {
    seal: async (reasoning, tenant) => (await load()).sealReasoning(reasoning, tenant, await openVault()),
    open: async (continuation, tenant) => (await load()).openReasoning(continuation, tenant, openVault),
  };
}
