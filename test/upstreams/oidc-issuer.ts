import { createServer, type RequestListener, type Server } from 'node:http';
import {
  exportJWK,
  type GenerateKeyPairResult,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  SignJWT,
} from 'jose';
import { type Listening, listen } from '../../local/listen.ts';

/** An OIDC issuer on this machine, which signs whatever claims a test wants. */
export interface OidcIssuer extends AsyncDisposable {
  /** Its identifier, and the URL under which it serves its metadata. */
  readonly url: string;
  /** The requests for its keys so far. */
  fetches(): number;
  /** Its public keys. */
  readonly keys: JWK[];
  /** Signs claims with its current key. Adds `iss`, `iat` and `exp` (in 5 minutes), unless the claims have them. */
  sign(claims: Readonly<Record<string, unknown>>, header?: Partial<JWTHeaderParameters>): Promise<string>;
  /** Replaces its key by a new one, with another id. */
  rotate(): Promise<void>;
  /** Makes it answer with status 503, or as always. */
  setDown(isDown: boolean): void;
  /** Makes it answer all requests by `listener`, or as always. */
  answerWith(listener: RequestListener | undefined): void;
}

export interface OidcIssuerOptions {
  readonly algorithm?: string;
  /** Creates its server. Default: without TLS. */
  readonly createServer?: (listener: RequestListener) => Server;
  /** Path of its identifier. */
  readonly path?: string;
  /** Scheme and host name of its identifier. */
  readonly origin?: string;
}

/** Starts an issuer with one key. */
export async function startOidcIssuer(options: OidcIssuerOptions = {}): Promise<OidcIssuer> {
  const { algorithm = 'RS256', path = '', origin = 'http://127.0.0.1' } = options;
  let generation = 0;
  let fetches = 0;
  let isDown = false;
  let custom: RequestListener | undefined;
  const keys: JWK[] = [];
  let signingKey = await replaceKey();
  const server = (options.createServer ?? createServer)((request, response) => {
    if (custom !== undefined) return custom(request, response);
    const isKeys = request.url === '/keys';
    if (isKeys) fetches += 1;
    const isKnown = isKeys || request.url === `${path}/.well-known/openid-configuration`;
    response.writeHead(isDown ? 503 : isKnown ? 200 : 404, { 'content-type': 'application/json' });
    const base = `${origin}:${listening.port}`;
    response.end(JSON.stringify(isKeys ? { keys } : { issuer: `${base}${path}`, jwks_uri: `${base}/keys` }));
  });
  const listening: Listening = await listen(server, { port: 0, hosts: ['localhost', 'issuer.example.com'] });
  const url = `${origin}:${listening.port}${path}`;

  async function replaceKey(): Promise<GenerateKeyPairResult['privateKey']> {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    generation += 1;
    keys.splice(0, keys.length, {
      ...(await exportJWK(pair.publicKey)),
      kid: `key-${generation}`,
      use: 'sig',
      alg: algorithm,
    });
    return pair.privateKey;
  }

  return {
    url,
    keys,
    fetches: () => fetches,
    sign(claims, header) {
      const now = Math.floor(Date.now() / 1000);
      return new SignJWT({ iss: url, iat: now, exp: now + 300, ...claims })
        .setProtectedHeader({ alg: algorithm, kid: `key-${generation}`, typ: 'JWT', ...header })
        .sign(signingKey);
    },
    async rotate() {
      signingKey = await replaceKey();
    },
    setDown(down) {
      isDown = down;
    },
    answerWith(listener) {
      custom = listener;
    },
    [Symbol.asyncDispose]: () => listening.close(),
  };
}
