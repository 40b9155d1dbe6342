import { expect, it } from 'vitest';
import { getPrincipalKind } from '../../../shared/access/principal-kind.ts';

const HEX = '0123456789abcdef0123456789ab';

it.each([
  [`user_${HEX}`, 'user'],
  [`svc_acct_${HEX}`, 'service_account'],
  ['AIDAEXAMPLE000000001', 'sender'],
  ['AROAEXAMPLE000000001', 'sender'],
  ['123456789012', 'sender'],
  [`key_${HEX}`, 'api_key'],
  // Keys that were made by hand.
  ['local', 'api_key'],
  ['user_alice', 'api_key'],
  ['svc_acct_1', 'api_key'],
  ['1234567890123', 'api_key'],
  ['AROA', 'api_key'],
  [`a-user_${HEX}`, 'api_key'],
  [`user_${HEX}0`, 'api_key'],
  [`svc_acct_${HEX}.2`, 'api_key'],
])('the id %s is of the kind %s', (id, kind) => {
  expect(getPrincipalKind(id)).toBe(kind);
});
