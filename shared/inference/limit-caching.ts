import type { GenerationRequest } from './generation.ts';
import type { Alias } from './registry.ts';

/** Returns the request as an alias lets targets cache it. */
export function limitCaching(
  request: GenerationRequest,
  { promptCache }: Pick<Alias, 'promptCache'>,
): GenerationRequest {
  return promptCache ? request : { ...request, hints: { ...request.hints, cachesMarksOnly: true } };
}
