/**
 * Replaces `@aws-sdk/token-providers`. Bearer tokens come only from environment variables (`AWS_BEARER_TOKEN_BEDROCK`
 * for a Bedrock API key). The SSO token cache and its OIDC client are left out, because a Lambda environment has no
 * such cache.
 */
export function fromEnvSigningName({ signingName = '' }: { readonly signingName?: string } = {}) {
  return async () => {
    const variable = `AWS_BEARER_TOKEN_${signingName.replace(/[\s-]/g, '_').toUpperCase()}`;
    const token = process.env[variable];
    if (!token) throw new Error(`${variable} is not set`);
    return { token };
  };
}

/**
 * Replaces the SDK's fallback if there is no variable, a profile's SSO session. The returned provider always throws.
 */
export function nodeProvider() {
  return async (): Promise<never> => {
    throw new Error('There is no bearer token in the environment; a bundle reads no other source of tokens');
  };
}
