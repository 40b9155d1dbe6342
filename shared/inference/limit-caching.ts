import type { GenerationRequest } from './generation.ts';
import type { Alias } from './registry.ts';

/** Returns the request, limited to the caller's own cache marks if the alias doesn't allow automatic cache points. */
export function limitCaching(
  request: GenerationRequest,
  { promptCache }: Pick<Alias, 'promptCache'>,
): GenerationRequest {
  return promptCache ? request : { ...request, hints: { ...request.hints, cachesMarksOnly: true } };
}
