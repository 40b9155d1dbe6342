/**
 * Stands for `@aws-sdk/credential-provider-node`. A Lambda environment gets its role's credentials as environment
 * variables, and keeps them for its life; the SDK's own chain (profiles, SSO, web identity, container and instance
 * metadata, five nested clients: 110 KB, 8 ms of a cold start) is never reached there. It also keeps a function on a
 * laptop from finding the developer's own credentials: the runner injects what a function may use.
 */
export function defaultProvider() {
  return async () => {
    const {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_SESSION_TOKEN: sessionToken,
      AWS_ACCOUNT_ID: accountId,
    } = process.env;
    if (!accessKeyId || !secretAccessKey) {
      throw new Error(
        'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: a bundle takes credentials from nowhere else',
      );
    }
    return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }), ...(accountId && { accountId }) };
  };
}
