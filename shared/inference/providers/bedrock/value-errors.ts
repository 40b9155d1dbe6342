import type { GenerationRequest } from '../../generation.ts';
import { UpstreamError } from '../../model.ts';

/**
 * A value that Converse, or this model, can't take. Another target may, so the router goes on looking.
 * @param internalName the request's own name of it; the caller hears the name that they used
 */
export function unsupportedValueError(request: GenerationRequest, internalName: string, reason: string): UpstreamError {
  const param = request.parameterNames[internalName] ?? internalName;
  return new UpstreamError('unsupported_value', `Unsupported value: '${param}': ${reason}.`, {
    param,
    recovery: 'nextTarget',
  });
}

/** Content that Converse can't take, at a path such as `messages[3]`. */
export function invalidValueError(param: string, reason: string): UpstreamError {
  return new UpstreamError('invalid_value', `Invalid value: '${param}': ${reason}.`, { param, recovery: 'nextTarget' });
}
