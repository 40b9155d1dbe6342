import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AuthorizedCaller,
  parseAuthorizerContext,
  toAuthorizerContext,
} from '../../../shared/access/authorizer-context.ts';
import { joinPolicy } from '../../../shared/access/policy-json.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';

const caller: AuthorizedCaller = { tenant: 'acme', keyId: 'key-1', scopes: ['generate', 'models.read'] };
const models = { mode: 'allow', models: ['default'] };

describe('the authorizer’s context', () => {
  it.each([caller, { ...caller, tenant: ORGANIZATION }, { ...caller, archived: false }])(
    'the authorizer’s context is parsed into the principal: %j',
    async (authorized) => {
      const { tenant, keyId, scopes } = authorized;
      expect(await parseAuthorizerContext(toAuthorizerContext(authorized))).toEqual({
        tenant,
        keyId,
        scopes,
        policy: {},
      });
    },
  );

  it('the authorizer’s context has the policy of all levels, and none if nothing is restricted', async () => {
    const policy = joinPolicy({ account: JSON.stringify({ models }), key: JSON.stringify({ models }) });
    const context = toAuthorizerContext({ ...caller, policy });
    expect((await parseAuthorizerContext(context))?.policy).toEqual({ account: { models }, key: { models } });
    expect(toAuthorizerContext({ ...caller, policy: joinPolicy({}) })).not.toHaveProperty('policy');
  });

  it('the context of a caller whose project is archived is refused, and has no scope for an earlier version', async () => {
    const context = toAuthorizerContext({ ...caller, archived: true });
    expect(context['scopes']).toBe('');
    await expect(parseAuthorizerContext(context)).rejects.toMatchObject({ code: 'project_archived' });
  });

  it('the context of a held caller is refused with the end of its hold, and has no scope for an earlier version', async () => {
    const context = toAuthorizerContext({ ...caller, heldUntil: 1_900_000_000 });
    expect(context['scopes']).toBe('');
    await expect(parseAuthorizerContext(context)).rejects.toMatchObject({
      ...{ code: 'key_held', message: expect.stringContaining('until 2030-03-17T17:46:40Z') },
    });
  });

  it('a policy with a section that this version does not enforce is refused', async () => {
    const policy = joinPolicy({ project: JSON.stringify({ models, fromTheFuture: {} }) });
    await expect(parseAuthorizerContext(toAuthorizerContext({ ...caller, policy }))).rejects.toMatchObject({
      ...{ code: 'overloaded', message: expect.stringContaining('fromTheFuture') },
    });
  });

  it('an invalid authorizer’s context is parsed into undefined', async () => {
    await fc.assert(
      fc.asyncProperty(fc.anything(), async (anything) => {
        expect(await parseAuthorizerContext(anything)).toBeUndefined();
      }),
    );
    expect(await parseAuthorizerContext({ tenant: 'a/b', keyId: 'k', scopes: '' })).toBeUndefined();
  });

  it('a caller is refused from the second at which its key or token expires', async () => {
    const now = Math.floor(Date.now() / 1000);
    const parse = (expiresAt: number) => parseAuthorizerContext(toAuthorizerContext({ ...caller, expiresAt }));
    expect(await parse(now)).toBeUndefined();
    expect(await parse(now + 100)).toMatchObject({ tenant: caller.tenant });
  });
});
