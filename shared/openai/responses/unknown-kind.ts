import type { LambentError } from '../../core/errors.ts';
import { abbreviateId } from '../../core/ids.ts';
import { formatList } from '../schema.ts';
import { invalidValueError } from '../validation.ts';

/** Returns the error for a `type` that isn't one of the supported values. */
export function unknownKindError(type: string, param: string, supported: readonly string[]): LambentError {
  const message = `Invalid value: '${abbreviateId(type)}'. Supported values are: ${formatList(supported)}.`;
  return invalidValueError(param, message);
}
