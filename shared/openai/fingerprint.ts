import { createHmac } from 'node:crypto';
import { getOrCreate } from '../core/get-or-create.ts';
import { deriveStackKey } from '../core/stack-key.ts';
import type { Alias, ModelRegistry } from '../inference/registry.ts';

const PURPOSE = 'lambent system fingerprint 1';
/** As many as in OpenAI's fingerprints. */
const HEX_DIGITS = 10;

/**
 * Creates a function that returns the `system_fingerprint` for the name of a model. It changes when the operator changes
 * the alias. Without the stack's key, a caller could hash guessed aliases until one has the same fingerprint.
 * @param stackId as for `deriveStackKey`
 */
export function createSystemFingerprint(
  stackId: string,
  { models }: Pick<ModelRegistry, 'models'>,
): (model: string) => string {
  const key = deriveStackKey(stackId, PURPOSE);
  const fingerprints = new Map<Alias | undefined, string>();
  return (model) => {
    const alias = models[model];
    return getOrCreate(fingerprints, alias, () => {
      const hmac = createHmac('sha256', key).update(JSON.stringify(alias ?? null));
      return `fp_${hmac.digest('hex').slice(0, HEX_DIGITS)}`;
    });
  };
}
