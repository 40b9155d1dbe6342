import { LambentError } from '../core/errors.ts';
import { isInRanges } from './ip-ranges.ts';

/**
 * Checks the address that a client calls from.
 * @throws LambentError `ip_not_authorized` if it lies in none of the ranges
 */
export function checkClientAddress(address: string | undefined, ranges: readonly string[]): void {
  if (isInRanges(address ?? '', ranges)) return;
  throw new LambentError(
    'ip_not_authorized',
    'Your request IP does not match the configured IP allowlist of this API key.',
  );
}
