import * as v from 'valibot';

/** A signed token, and what it claims about its origin. Nothing of it is verified. */
export interface UnverifiedToken {
  readonly text: string;
  readonly issuer: string;
  /** Up to four audiences. */
  readonly audiences: readonly string[];
}

/** Above any real token: API Gateway accepts 10,240 bytes of headers in all. */
const MAX_TOKEN_LENGTH = 8_192;

const MAX_AUDIENCES = 4;

const TOKEN = /^([\w-]+)\.([\w-]+)\.[\w-]*$/;

/**
 * Returns the token of an `Authorization: Bearer …` header, if it is a JWT by its header; undefined otherwise. A key that an operator
 * has made may have two dots as well.
 * @see https://www.rfc-editor.org/rfc/rfc7515#section-4.1.1
 */
export function findBearerToken(header: string): string | undefined {
  const value = /^Bearer +(\S+) *$/i.exec(header)?.[1];
  if (value === undefined || value.length > MAX_TOKEN_LENGTH) return undefined;
  const [, head] = TOKEN.exec(value) ?? [];
  return head !== undefined && v.is(headSchema, decodeJson(head)) ? value : undefined;
}

const headSchema = v.object({ alg: v.string() });

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(512));
const originSchema = v.object({
  iss: text,
  aud: v.optional(v.union([text, v.pipe(v.array(text), v.maxLength(MAX_AUDIENCES))])),
  client_id: v.optional(text),
  token_use: v.optional(v.unknown()),
});

/**
 * Reads the issuer and the audience of a token, in order to find the keys to verify it with. The audience of an access token of
 * Amazon Cognito, which lacks `aud`, is its client.
 * @returns undefined if it is too long, not a JWT, or lacks them
 * @see https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
 */
export function parseToken(token: string): UnverifiedToken | undefined {
  const payload = token.length <= MAX_TOKEN_LENGTH ? TOKEN.exec(token)?.[2] : undefined;
  if (payload === undefined) return undefined;
  const result = v.safeParse(originSchema, decodeJson(payload));
  if (!result.success) return undefined;
  const { iss, aud, client_id, token_use } = result.output;
  const audiences = typeof aud === 'string' ? [aud] : (aud ?? (token_use === 'access' && client_id ? [client_id] : []));
  return { text: token, issuer: iss, audiences: [...new Set(audiences)] };
}

function decodeJson(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}
