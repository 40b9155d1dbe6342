import { LambentError } from '../../core/errors.ts';
import type { EmbeddingRequest } from '../../inference/embedding.ts';
import { INPUT, openRedaction, type RedactionCall } from './redact-texts.ts';

/**
 * Returns a request for embeddings without its personal data. The same text has the same vector under each key.
 * @throws LambentError `content_filter` for a value that is refused, and for tokens that aren't decoded; as
 * `Guardrail.findPersonalData`
 */
export async function maskEmbeddings(request: EmbeddingRequest, call: RedactionCall): Promise<EmbeddingRequest> {
  const { user, ...anonymous } = request;
  let kept: Pick<EmbeddingRequest, 'user'> = {};
  const redact = await openRedaction(call, (search) => {
    for (const input of request.inputs) search.visit(getText(input), INPUT);
    if (user !== undefined && search.isClean(user, { param: 'user', isName: true })) kept = { user };
  });
  if (redact === undefined) return request;
  const inputs = request.inputs.map((input) => redact(getText(input)));
  return { ...anonymous, ...kept, inputs };
}

function getText(input: EmbeddingRequest['inputs'][number]): string {
  if (typeof input === 'string') return input;
  const message =
    "The policy of this project refuses 'input': tokens of this model can't be searched for personal data.";
  throw new LambentError('content_filter', message, INPUT);
}
