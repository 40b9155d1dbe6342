import { jwtVerify } from 'jose';
import { expect, it } from 'vitest';
import { fetchPublicJson } from '../../../../shared/access/federation/fetch-public-json.ts';
import { KeySets } from '../../../../shared/access/federation/key-sets.ts';
import { type OidcIssuer, startOidcIssuer } from '../../../upstreams/oidc-issuer.ts';

/** Creates the keys of an issuer, whose clock a test sets. */
function createKeys(issuer: OidcIssuer) {
  const clock = { ms: 1_000_000 };
  const keySets = new KeySets(
    (url) => fetchPublicJson(url, { isLoopbackAllowed: true }),
    () => clock.ms,
  );
  const keys = { discoveryUrl: `${issuer.url}/.well-known/openid-configuration` };
  const verify = async (token: string) =>
    (await jwtVerify(token, keySets.find({ issuer: issuer.url, keys }))).payload.sub;
  return { clock, verify };
}

it('keys are fetched once in ten minutes', async () => {
  await using issuer = await startOidcIssuer();
  const { clock, verify } = createKeys(issuer);
  const token = await issuer.sign({ sub: 'a' });
  await Promise.all(Array.from({ length: 20 }, () => verify(token)));
  clock.ms += 600_000;
  await verify(token);
  expect(issuer.fetches()).toBe(1);
  clock.ms += 1;
  await verify(token);
  expect(issuer.fetches()).toBe(2);
});

it('a new key is found at once, and another one 30 s later', async () => {
  await using issuer = await startOidcIssuer();
  const { clock, verify } = createKeys(issuer);
  await verify(await issuer.sign({ sub: 'a' }));
  await issuer.rotate();
  const second = await issuer.sign({ sub: 'b' });
  await expect(verify(second)).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' });
  clock.ms += 30_000;
  expect(await verify(second)).toBe('b');
  expect(issuer.fetches()).toBe(2);
});

it('a key that its issuer has withdrawn is refused after ten minutes', async () => {
  await using issuer = await startOidcIssuer();
  const { clock, verify } = createKeys(issuer);
  const token = await issuer.sign({ sub: 'a' });
  await verify(token);
  await issuer.rotate();
  expect(await verify(token)).toBe('a');
  clock.ms += 600_001;
  await expect(verify(token)).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' });
});

it('known keys are used for a day while their issuer is down, with an attempt every 30 s', async () => {
  await using issuer = await startOidcIssuer();
  const { clock, verify } = createKeys(issuer);
  const token = await issuer.sign({ sub: 'a' });
  await verify(token);
  let attempts = 0;
  issuer.answerWith((_, response) => {
    attempts += 1;
    response.writeHead(503).end();
  });
  clock.ms += 86_400_000 - 30_000;
  for (let second = 0; second < 30; second += 1) {
    expect(await verify(token)).toBe('a');
    clock.ms += 1_000;
  }
  expect(attempts).toBe(1);
  expect(await verify(token)).toBe('a');
  expect(attempts).toBe(2);
});

it('keys that could not be fetched for a day are used no more, until their issuer is back', async () => {
  await using issuer = await startOidcIssuer();
  const { clock, verify } = createKeys(issuer);
  const token = await issuer.sign({ sub: 'a' });
  await verify(token);
  issuer.setDown(true);
  clock.ms += 86_400_001;
  await expect(verify(token)).rejects.toMatchObject({ code: 'issuer_unavailable' });
  issuer.setDown(false);
  clock.ms += 30_000;
  expect(await verify(token)).toBe('a');
});

it('keys that were never fetched are asked for again after 2 s', async () => {
  await using issuer = await startOidcIssuer();
  const { clock, verify } = createKeys(issuer);
  const token = await issuer.sign({ sub: 'a' });
  issuer.setDown(true);
  await expect(verify(token)).rejects.toMatchObject({ code: 'issuer_unavailable' });
  issuer.setDown(false);
  await expect(verify(token)).rejects.toMatchObject({ code: 'issuer_unavailable' });
  clock.ms += 2_000;
  expect(await verify(token)).toBe('a');
});
