import type { Policy } from '../../access/policy.ts';
import { LambentError } from '../../core/errors.ts';
import type { EmbeddingRequest } from '../../inference/embedding.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions } from '../../inference/router.ts';
import { getDetector } from './detectors.ts';
import { replaceFound, TextSearch } from './mask-request.ts';
import { openNameFinder } from './open-name-finder.ts';
import { reportFound } from './report.ts';
import { combineRules } from './rules.ts';

/**
 * Returns a request for embeddings without its personal data. Vectors have no text to restore, so values that are masked in
 * chats are redacted here. The same text then has the same vector under each key.
 * @throws LambentError `content_filter` for a value that is refused, and for tokens that aren't decoded; as
 * `Guardrail.findPersonalData`
 */
export async function maskEmbeddings(
  request: EmbeddingRequest,
  policy: Policy,
  registry: Pick<ModelRegistry, 'guardrails'>,
  call: Pick<GenerateOptions, 'signal' | 'telemetry'>,
): Promise<EmbeddingRequest> {
  const rules = combineRules(policy);
  if (rules === undefined) return request;
  const search = new TextSearch(rules, await getDetector(rules));
  const texts = request.inputs.map((input) => {
    if (typeof input === 'string') return input;
    const message =
      "The policy of this project refuses 'input': tokens of this model can't be searched for personal data.";
    throw new LambentError('content_filter', message, { param: 'input' });
  });
  const place = { param: 'input' };
  for (const text of texts) search.visit(text, place);
  const { user, ...anonymous } = request;
  const isUserKept = user !== undefined && search.isClean(user, { param: 'user', isName: true });
  await search.findNames(await openNameFinder(rules, registry, call));
  reportFound(call.telemetry, search.counts);
  search.throwRefusal();
  const inputs = texts.map((text) =>
    replaceFound(text, search.getFound(text, place), ({ label }) => `[REDACTED ${label}]`),
  );
  return { ...anonymous, ...(isUserKept && { user }), inputs };
}
