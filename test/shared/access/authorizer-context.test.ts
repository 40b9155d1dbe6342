import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAuthorizerContext, toAuthorizerContext } from '../../../shared/access/authorizer-context.ts';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { ORGANIZATION, type Principal } from '../../../shared/access/principal.ts';

const principal: Principal = {
  tenant: 'acme',
  keyId: 'key-1',
  scopes: ['generate', 'models.read'],
  policy: UNRESTRICTED,
};

describe('the authorizer’s context', () => {
  it.each([principal, { ...principal, tenant: ORGANIZATION }])(
    'the authorizer’s context is parsed into the same principal: $tenant',
    (caller) => {
      expect(parseAuthorizerContext(toAuthorizerContext(caller))).toEqual(caller);
    },
  );

  it('an invalid authorizer’s context is parsed into undefined', () => {
    fc.assert(
      fc.property(fc.anything(), (anything) => {
        expect(parseAuthorizerContext(anything)).toBeUndefined();
      }),
    );
    expect(parseAuthorizerContext({ tenant: 'a/b', keyId: 'k', scopes: '' })).toBeUndefined();
  });
});
