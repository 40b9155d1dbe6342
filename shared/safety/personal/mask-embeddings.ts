import type { Policy } from '../../access/policy.ts';
import { LambentError } from '../../core/errors.ts';
import type { Telemetry } from '../../core/telemetry.ts';
import type { EmbeddingRequest } from '../../inference/embedding.ts';
import { getDetector } from './detectors.ts';
import { type FindNames, replaceFound, TextSearch } from './mask-request.ts';
import { reportFound } from './report.ts';
import { combineRules } from './rules.ts';

/**
 * Returns a request for embeddings without its personal data. Vectors have no text to restore, so values that are masked in
 * chats are redacted here. The same text then has the same vector under each key.
 * @throws LambentError `content_filter` for a value that is refused, and for tokens that aren't decoded
 */
export async function maskEmbeddings(
  request: EmbeddingRequest,
  policy: Policy,
  { telemetry, findNames }: { readonly telemetry: Telemetry | undefined; readonly findNames?: FindNames | undefined },
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
  await search.findNames(findNames);
  reportFound(telemetry, search.counts);
  search.throwRefusal();
  const inputs = texts.map((text) =>
    replaceFound(text, search.getFound(text, place), ({ label }) => `[REDACTED ${label}]`),
  );
  return { ...anonymous, ...(isUserKept && { user }), inputs };
}
