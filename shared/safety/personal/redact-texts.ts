import type { Policy } from '../../access/policy.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions } from '../../inference/router.ts';
import { getDetector } from './detectors.ts';
import { replaceFound, TextSearch } from './mask-request.ts';
import { openNameFinder } from './open-name-finder.ts';
import { reportFound } from './report.ts';
import { combineRules } from './rules.ts';

/** What a policy's rules are applied with. */
export interface RedactionCall extends Pick<GenerateOptions, 'signal' | 'telemetry'> {
  readonly policy: Policy;
  readonly registry: Pick<ModelRegistry, 'guardrails'>;
}

/** The field of a request that has the texts. */
export const INPUT = { param: 'input' };

/**
 * Searches the input of a request whose answer has no text to restore, such as vectors. Values that are masked in chats are
 * redacted there.
 * @param visit visits the texts of the request
 * @returns the function that redacts a visited text of the input, or undefined if the policy has no rules
 * @throws LambentError `content_filter` for a value that is refused; what `visit` throws; as `Guardrail.findPersonalData`
 */
export async function openRedaction(
  { policy, registry, ...call }: RedactionCall,
  visit: (search: TextSearch) => void,
): Promise<((text: string) => string) | undefined> {
  const rules = combineRules(policy);
  if (rules === undefined) return undefined;
  const search = new TextSearch(rules, await getDetector(rules));
  visit(search);
  await search.findNames(await openNameFinder(rules, registry, call));
  reportFound(call.telemetry, search.counts);
  search.throwRefusal();
  return (text) => replaceFound(text, search.getFound(text, INPUT), ({ label }) => `[REDACTED ${label}]`);
}
