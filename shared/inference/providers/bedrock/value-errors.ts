import type { GenerationRequest } from '../../generation.ts';
import { UpstreamError } from '../../model.ts';

/**
 * The error for a value that Converse or this model doesn't support. Another target may support it.
 * @param internalName the parameter's name in `GenerationRequest`; the message uses the caller's name
 */
export function unsupportedValueError(request: GenerationRequest, internalName: string, reason: string): UpstreamError {
  const param = toCallerName(request, internalName);
  return new UpstreamError('unsupported_value', `Unsupported value: '${param}': ${reason}.`, {
    param,
    recovery: 'nextTarget',
  });
}

/** The error for content that Converse doesn't support, at a path such as `messages[3]`. */
export function invalidValueError(param: string, reason: string): UpstreamError {
  return new UpstreamError('invalid_value', `Invalid value: '${param}': ${reason}.`, { param, recovery: 'nextTarget' });
}

/** Returns the caller's name of a parameter. */
export function toCallerName(request: GenerationRequest, internalName: string): string {
  return request.parameterNames[internalName] ?? internalName;
}
