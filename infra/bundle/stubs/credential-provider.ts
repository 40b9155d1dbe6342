import { once } from '../../../shared/core/once.ts';

/**
 * Replaces `@aws-sdk/credential-provider-node`. A Lambda environment has its role's credentials in environment
 * variables for its whole life, so it never uses the rest of the SDK's chain: profiles, SSO, web identity, container
 * and instance metadata, with five nested clients (110 KB, 8 ms of a cold start). On a laptop the stub also keeps
 * functions from using the developer's own credentials: the local runner passes those that a function may use.
 */
export function defaultProvider() {
  // Like the SDK's own provider, because reading environment variables takes longer than all the rest of it.
  return once(async () => {
    const {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_SESSION_TOKEN: sessionToken,
      AWS_ACCOUNT_ID: accountId,
    } = process.env;
    if (!accessKeyId || !secretAccessKey) {
      throw new Error(
        'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; a bundle reads no other source of credentials',
      );
    }
    return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }), ...(accountId && { accountId }) };
  });
}
