/** What the `keyId` of a principal names. Only keys have ids of their own: tokens have that of their owner. */
export type PrincipalKind = 'api_key' | 'service_account' | 'user' | 'sender';

/** The forms of ids that are not of keys. */
const FORMS: readonly (readonly [PrincipalKind, RegExp])[] = [
  ['user', /^user_[\da-f]{28}$/],
  ['service_account', /^svc_acct_[\da-f]{28}$/],
  // The unique id of a user or role, also one of an AWS service, or the id of an account.
  ['sender', /^((AIDA|AROA)[A-Z\d]{12,60}|\d{12})$/],
];

/** Returns the kind of a principal by its `keyId`. An id of no other kind is a key's: those made by hand have any form. */
export function getPrincipalKind(keyId: string): PrincipalKind {
  return FORMS.find(([, form]) => form.test(keyId))?.[0] ?? 'api_key';
}
