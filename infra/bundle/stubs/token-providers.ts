/**
 * Replaces `@aws-sdk/token-providers`. Bearer tokens come from the environment alone (`AWS_BEARER_TOKEN_BEDROCK` for a Bedrock API
 * key), without the SSO token cache and its OIDC client, which a Lambda environment can't have.
 */
export function fromEnvSigningName({ signingName = '' }: { readonly signingName?: string } = {}) {
  return async () => {
    const variable = `AWS_BEARER_TOKEN_${signingName.replace(/[\s-]/g, '_').toUpperCase()}`;
    const token = process.env[variable];
    if (!token) throw new Error(`${variable} is not set`);
    return { token };
  };
}

/** The SDK's fallback after the environment, a profile's SSO session. There is none here. */
export function nodeProvider() {
  return async (): Promise<never> => {
    throw new Error('There is no bearer token in the environment; a bundle reads no other source of tokens');
  };
}
