import { describe, expect, it } from 'vitest';
import { BUILT_IN_ROLES } from '../../../shared/access/roles.ts';
import { ADMIN_SCOPES, hasScope, TENANT_SCOPES } from '../../../shared/access/scopes.ts';

const SCOPES = [...TENANT_SCOPES, ...ADMIN_SCOPES];
const listScopes = (...names: string[]) => SCOPES.filter((scope) => hasScope(names, scope));

describe('hasScope', () => {
  it('each scope permits itself and nothing else', () => {
    for (const scope of SCOPES) expect(listScopes(scope)).toEqual([scope]);
  });

  it('the scopes of earlier versions permit what they did: models the list of models, inference all else', () => {
    expect(listScopes('models')).toEqual(['models.read']);
    expect(listScopes('inference')).toEqual(TENANT_SCOPES.filter((scope) => scope !== 'models.read'));
    expect(listScopes('inference', 'models')).toEqual(TENANT_SCOPES);
  });

  it.each(['', 'admin', 'generat', 'generate2', 'constructor', '__proto__', 'toString'])(
    'the name %j permits nothing',
    (name) => {
      expect(listScopes(name)).toEqual([]);
    },
  );
});

describe('the built-in roles', () => {
  it('the sandbox and the reader read only', () => {
    expect(BUILT_IN_ROLES.sandbox.scopes).toEqual(['models.read', 'responses.read', 'conversations.read']);
    expect(BUILT_IN_ROLES.reader.scopes).toEqual(SCOPES.filter((scope) => scope.endsWith('.read')));
  });

  it('only the owner and the reader have scopes of the administration', () => {
    const administers = Object.entries(BUILT_IN_ROLES).filter(([, { scopes }]) =>
      scopes.some((scope) => scope.startsWith('admin.')),
    );
    expect(administers.map(([name]) => name)).toEqual(['owner', 'reader']);
  });
});
