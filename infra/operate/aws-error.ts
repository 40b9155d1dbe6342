/** What an operator can do about an error of the AWS SDK, by its name. */
const EXPLANATIONS: Readonly<Record<string, string>> = {
  CredentialsProviderError: 'no AWS credentials: set AWS_PROFILE, sign in (aws sso login), or set AWS_ACCESS_KEY_ID',
  TokenProviderError: 'the SSO session has expired: run aws sso login',
  ExpiredToken: 'the AWS credentials have expired: sign in again',
  ExpiredTokenException: 'the AWS credentials have expired: sign in again',
  InvalidClientTokenId: 'AWS does not know the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID',
  UnrecognizedClientException: 'AWS does not know the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID',
};

/** Returns one line that says why a request to AWS failed. */
export function describeAwsError(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const explanation = Object.hasOwn(EXPLANATIONS, thrown.name) ? EXPLANATIONS[thrown.name] : undefined;
  const code = Reflect.get(thrown, 'code');
  if (explanation !== undefined) return explanation;
  if (code === 'ENOTFOUND' || code === 'ECONNREFUSED') return `the endpoint can't be reached (${code})`;
  const [line = ''] = thrown.message.split('\n');
  return line || thrown.name;
}
/** True if AWS refused the request because the caller lacks a permission. */
export function isAccessDenied(thrown: unknown): boolean {
  return (
    thrown instanceof Error &&
    /^(AccessDenied(Exception)?|UnauthorizedOperation|Forbidden|AuthorizationError(Exception)?)$/.test(thrown.name)
  );
}

/** True if AWS knows no such resource. */
export function isNotFound(thrown: unknown): boolean {
  return thrown instanceof Error && /NotFound|NoSuch|DoesNotExist|NonExistent|ParameterNotFound/.test(thrown.name);
}
