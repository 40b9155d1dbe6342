import type { GenerationRequest } from '../inference/generation.ts';

/** Returns a request without its original: a native request and its answer would pass unchecked. */
export function omitOriginal({ original: _, ...request }: GenerationRequest): GenerationRequest {
  return request;
}
