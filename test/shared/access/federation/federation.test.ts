import { createHmac } from 'node:crypto';
import { exportSPKI, importJWK, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFederation, type Federation } from '../../../../shared/access/federation/federation.ts';
import type { FederationRule, TrustedIssuer } from '../../../../shared/access/federation/issuers.ts';
import { type OidcIssuer, startOidcIssuer } from '../../../upstreams/oidc-issuer.ts';
import { TOKEN_SHAPES } from './token-shapes.ts';

const RULE: FederationRule = {
  id: 'rule-1',
  tenant: 'acme',
  serviceAccount: 'svc-1',
  matchers: { team: 'search' },
  scopes: ['generate'],
};
const CLAIMS = { sub: 'job-1', aud: 'lambent', team: 'search' };

let issuer: OidcIssuer;
beforeAll(async () => {
  issuer = await startOidcIssuer();
});
afterAll(() => issuer[Symbol.asyncDispose]());

function trust(changes: Partial<TrustedIssuer> = {}): TrustedIssuer {
  return {
    providerId: 'provider-1',
    enabled: true,
    issuer: issuer.url,
    audience: 'lambent',
    keys: { discoveryUrl: `${issuer.url}/.well-known/openid-configuration` },
    attributes: {},
    rules: [RULE],
    ...changes,
  };
}

function federate(...trusted: readonly TrustedIssuer[]): Federation {
  const find = async (iss: string, aud: string) => trusted.find((each) => each.issuer === iss && each.audience === aud);
  return createFederation(find, true);
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = (): number => Math.floor(Date.now() / 1000);

it('a token that meets a rule stands for its service account, until 30 s after it expires', async () => {
  const exp = now() + 60;
  expect(await federate(trust()).authenticate(await issuer.sign({ ...CLAIMS, exp }))).toEqual({
    issuer: issuer.url,
    audience: 'lambent',
    tenant: 'acme',
    serviceAccount: 'svc-1',
    scopes: ['generate'],
    rules: [RULE],
    subject: 'job-1',
    expiresAt: exp + 30,
  });
});

describe.each(Object.entries(TOKEN_SHAPES))('%s', (name, { path, audience, claims, matchers, attributes = {} }) => {
  it(`${name} are accepted by a rule with their claims, and by no other`, async () => {
    await using own = await startOidcIssuer({ path });
    const rule = { ...RULE, matchers };
    const base = {
      issuer: own.url,
      audience,
      attributes,
      keys: { discoveryUrl: `${own.url}/.well-known/openid-configuration` },
    };
    const token = await own.sign(claims);
    expect(await federate(trust({ ...base, rules: [rule] })).authenticate(token)).toMatchObject({ tenant: 'acme' });
    for (const matcher of Object.keys(matchers)) {
      const other = { ...rule, matchers: { ...matchers, [matcher]: 'other' } };
      expect(await federate(trust({ ...base, rules: [other] })).authenticate(token)).toBe('no rule for the token');
    }
    const elsewhere = trust({ ...base, audience: 'other', rules: [rule] });
    expect(await federate(elsewhere).authenticate(token)).toBe('unknown issuer or audience');
  });
});

it.each(['RS256', 'PS512', 'ES256', 'ES384', 'EdDSA'])(
  'a token that is signed with %s is accepted',
  async (algorithm) => {
    await using own = await startOidcIssuer({ algorithm });
    const keys = { discoveryUrl: `${own.url}/.well-known/openid-configuration` };
    const token = await own.sign(CLAIMS);
    expect(await federate(trust({ issuer: own.url, keys })).authenticate(token)).toMatchObject({ subject: 'job-1' });
  },
);

describe('rules', () => {
  it('the rules of one service account that a token meets grant the scopes of all', async () => {
    const rules = [RULE, { ...RULE, id: 'rule-2', scopes: ['embeddings', 'generate'], matchers: { sub: 'job-1' } }];
    const caller = await federate(trust({ rules })).authenticate(await issuer.sign(CLAIMS));
    expect(caller).toMatchObject({ scopes: ['generate', 'embeddings'], rules });
  });

  it('a token that meets rules of two service accounts is refused, unless the caller names one', async () => {
    const federation = federate(trust({ rules: [RULE, { ...RULE, id: 'rule-2', serviceAccount: 'svc-2' }] }));
    const token = await issuer.sign(CLAIMS);
    expect(await federation.authenticate(token)).toBe('rules of several service accounts');
    expect(await federation.authenticate(token, { serviceAccount: 'svc-2' })).toMatchObject({
      rules: [{ id: 'rule-2' }],
    });
  });

  it('a rule without matchers admits no token', async () => {
    const federation = federate(trust({ rules: [{ ...RULE, matchers: {} }] }));
    expect(await federation.authenticate(await issuer.sign(CLAIMS))).toBe('no rule for the token');
  });

  it('a value of another type meets no rule', async () => {
    const federation = federate(trust({ rules: [{ ...RULE, matchers: { admin: true } }] }));
    expect(await federation.authenticate(await issuer.sign({ ...CLAIMS, admin: 'true' }))).toBe(
      'no rule for the token',
    );
    expect(await federation.authenticate(await issuer.sign({ ...CLAIMS, admin: true }))).toMatchObject({});
  });

  it('the names of properties that every object has meet no rule', async () => {
    const federation = federate(trust({ rules: [{ ...RULE, matchers: { 'constructor.name': 'Object' } }] }));
    expect(await federation.authenticate(await issuer.sign(CLAIMS))).toBe('no rule for the token');
  });

  it('a provider that is switched off accepts no token', async () => {
    const token = await issuer.sign(CLAIMS);
    expect(await federate(trust({ enabled: false })).authenticate(token)).toBe('unknown issuer or audience');
  });
});

describe('attacks', () => {
  const refuse = async (token: string, trusted: TrustedIssuer = trust()) => {
    const answer = await federate(trusted).authenticate(token);
    expect(answer).toEqual(expect.any(String));
    return answer;
  };

  it('a token that another issuer has signed is refused', async () => {
    await using forger = await startOidcIssuer();
    await refuse(await forger.sign({ ...CLAIMS, iss: issuer.url }));
  });

  it('a token whose claims were changed is refused', async () => {
    const [header, , signature] = (await issuer.sign({ ...CLAIMS, team: 'sales' })).split('.');
    const claims = encode({ ...CLAIMS, iss: issuer.url, exp: now() + 300 });
    expect(await refuse(`${header}.${claims}.${signature}`)).toBe(
      'invalid token: ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    );
  });

  it('a token is refused from 30 s after it has expired, however often it was accepted before', async () => {
    expect(await refuse(await issuer.sign({ ...CLAIMS, exp: now() - 31 }))).toBe('invalid token: ERR_JWT_EXPIRED');
    expect(await federate(trust()).authenticate(await issuer.sign({ ...CLAIMS, exp: now() - 20 }))).toMatchObject({});
  });

  it('a token that is not valid yet is refused', async () => {
    await refuse(await issuer.sign({ ...CLAIMS, nbf: now() + 60 }));
  });

  it('a token without expiry or subject is refused', async () => {
    await refuse(await issuer.sign({ ...CLAIMS, exp: undefined }));
    await refuse(await issuer.sign({ ...CLAIMS, sub: undefined }));
  });

  it.each(['none', 'None', 'NONE', ''])('an unsigned token with the algorithm "%s" is refused', async (alg) => {
    const claims = encode({ ...CLAIMS, iss: issuer.url, exp: now() + 300 });
    await refuse(`${encode({ alg, kid: 'key-1' })}.${claims}.`);
    const [, , signature] = (await issuer.sign(CLAIMS)).split('.');
    await refuse(`${encode({ alg, kid: 'key-1' })}.${claims}.${signature}`);
  });

  it.each(['spki', 'jwk', 'modulus'])('a token whose HS256 secret is the public key (%s) is refused', async (form) => {
    const jwk = issuer.keys[0] ?? {};
    const key = await importJWK(jwk, 'RS256', { extractable: true });
    const spki = key instanceof Uint8Array ? '' : await exportSPKI(key);
    const secret =
      form === 'spki' ? spki : form === 'jwk' ? JSON.stringify(jwk) : Buffer.from(jwk.n ?? '', 'base64url');
    const signed = `${encode({ alg: 'HS256', kid: jwk.kid })}.${encode({ ...CLAIMS, iss: issuer.url, exp: now() + 300 })}`;
    const signature = createHmac('sha256', secret).update(signed).digest('base64url');
    expect(await refuse(`${signed}.${signature}`)).toBe('invalid token: ERR_JOSE_ALG_NOT_ALLOWED');
  });

  it('an issuer with a secret key in its key set can have no token with HS256', async () => {
    const secret = Buffer.alloc(32, 1);
    const jwks = { keys: [{ kty: 'oct', k: secret.toString('base64url'), kid: 's', alg: 'HS256' }] };
    const token = await new SignJWT({ ...CLAIMS, iss: issuer.url, exp: now() + 300 })
      .setProtectedHeader({ alg: 'HS256', kid: 's' })
      .sign(secret);
    await refuse(token, trust({ keys: { jwks } }));
  });

  it.each([
    '../../keys',
    "' OR 1=1 --",
    'http://127.0.0.1/keys',
    '__proto__',
    'constructor',
    '',
    'key-1\0',
    '/dev/null',
  ])('a token with the key id "%s" is refused', async (kid) => {
    await refuse(await issuer.sign(CLAIMS, { kid }));
  });

  it("a token's own keys and their URLs are ignored", async () => {
    await using forger = await startOidcIssuer();
    const claims = { ...CLAIMS, iss: issuer.url };
    const url = `${forger.url}/keys`;
    await refuse(await forger.sign(claims, { jku: url }));
    await refuse(await forger.sign(claims, { x5u: url }));
    await refuse(await forger.sign(claims, { jwk: forger.keys[0] ?? {} }));
    expect(forger.fetches()).toBe(0);
    // A token that is valid by itself is not harmed.
    expect(await federate(trust()).authenticate(await issuer.sign(CLAIMS, { jku: url }))).toMatchObject({});
    expect(forger.fetches()).toBe(0);
  });

  it('a token with a critical header that is not understood is refused', async () => {
    const [, claims, signature] = (await issuer.sign(CLAIMS)).split('.');
    const header = encode({ alg: 'RS256', kid: 'key-1', crit: ['x'], x: 1 });
    await refuse(`${header}.${claims}.${signature}`);
  });

  it('a token for another audience is refused, and so is one for too many', async () => {
    await refuse(await issuer.sign({ ...CLAIMS, aud: 'other' }));
    await refuse(await issuer.sign({ ...CLAIMS, aud: undefined }));
    await refuse(await issuer.sign({ ...CLAIMS, aud: ['a', 'b', 'c', 'd', 'lambent'] }));
    // Only Cognito's access tokens name their audience otherwise.
    await refuse(await issuer.sign({ ...CLAIMS, aud: undefined, client_id: 'lambent' }));
    await refuse(await issuer.sign({ ...CLAIMS, aud: 'other', client_id: 'lambent', token_use: 'access' }));
  });

  it('a token of another issuer is refused, however similar its name', async () => {
    for (const iss of [`${issuer.url}/`, issuer.url.toUpperCase(), `${issuer.url}.example.com`])
      await refuse(await issuer.sign({ ...CLAIMS, iss }));
  });

  it('a token of more than 8,192 characters is refused without looking up its issuer', async () => {
    const token = await issuer.sign({ ...CLAIMS, padding: 'x'.repeat(8_192) });
    const federation = createFederation(() => Promise.reject(new Error('looked up')), true);
    expect(await federation.authenticate(token)).toBe('not a token');
    expect(await federation.authenticate('a.b.c')).toBe('not a token');
    expect(await federation.authenticate('a..c')).toBe('not a token');
  });
});

describe('keys', () => {
  it('1,000 tokens with unknown key ids cause at most two fetches of the keys', async () => {
    await using own = await startOidcIssuer();
    const keys = { discoveryUrl: `${own.url}/.well-known/openid-configuration` };
    const federation = federate(trust({ issuer: own.url, keys }));
    const valid = await own.sign(CLAIMS);
    const [, claims, signature] = valid.split('.');
    const tokens = Array.from(
      { length: 1_000 },
      (_, index) => `${encode({ alg: 'RS256', kid: `unknown-${index}` })}.${claims}.${signature}`,
    );
    const answers = await Promise.all(tokens.map((token) => federation.authenticate(token)));
    expect(new Set(answers)).toEqual(new Set(['invalid token: ERR_JWKS_NO_MATCHING_KEY']));
    expect(own.fetches()).toBeLessThanOrEqual(2);
    expect(await federation.authenticate(valid)).toMatchObject({ subject: 'job-1' });
  });

  it('tokens of an issuer whose keys can not be fetched fail as an outage, with few attempts', async () => {
    await using own = await startOidcIssuer();
    own.setDown(true);
    const keys = { discoveryUrl: `${own.url}/.well-known/openid-configuration` };
    const federation = federate(trust({ issuer: own.url, keys }));
    const token = await own.sign(CLAIMS);
    const results = await Promise.allSettled(Array.from({ length: 100 }, () => federation.authenticate(token)));
    for (const result of results)
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'issuer_unavailable' } });
    expect(own.fetches()).toBe(0);
  });

  it('keys that were uploaded need no request', async () => {
    await using own = await startOidcIssuer();
    const token = await own.sign(CLAIMS);
    const trusted = trust({ issuer: own.url, keys: { jwks: { keys: own.keys } } });
    expect(await federate(trusted).authenticate(token)).toMatchObject({ subject: 'job-1' });
    expect(own.fetches()).toBe(0);
  });

  it('metadata of another issuer is not accepted', async () => {
    await using own = await startOidcIssuer();
    const keys = { discoveryUrl: `${issuer.url}/.well-known/openid-configuration` };
    const token = await own.sign(CLAIMS);
    await expect(federate(trust({ issuer: own.url, keys })).authenticate(token)).rejects.toMatchObject({
      code: 'issuer_unavailable',
    });
  });
});
