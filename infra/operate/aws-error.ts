/** What an operator can do about an error of the AWS SDK, by its name. */
const EXPLANATIONS: Readonly<Record<string, string>> = {
  TokenProviderError: 'the SSO session has expired: run aws sso login',
  ExpiredToken: 'the AWS credentials have expired: sign in again',
  ExpiredTokenException: 'the AWS credentials have expired: sign in again',
  InvalidClientTokenId: 'AWS does not know the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID',
  UnrecognizedClientException: 'AWS does not know the access key: check AWS_PROFILE and AWS_ACCESS_KEY_ID',
};

/**
 * Returns one line that says why a request to AWS failed.
 * @param profile the profile from which the SDK reads credentials
 */
export function describeAwsError(thrown: unknown, profile = process.env['AWS_PROFILE']): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.name === 'CredentialsProviderError') return describeMissingCredentials(profile);
  // The SDK gives this error no name of its own.
  if (thrown.message === 'Region is missing') return 'no AWS region: add --region, or set AWS_REGION';
  const explanation = Object.hasOwn(EXPLANATIONS, thrown.name) ? EXPLANATIONS[thrown.name] : undefined;
  const code = Reflect.get(thrown, 'code');
  if (explanation !== undefined) return explanation;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'ECONNREFUSED') {
    const host = Reflect.get(thrown, 'hostname') ?? 'the endpoint';
    return `${host} can't be reached (${code}): check the network and the region`;
  }
  const [line = ''] = thrown.message.split('\n');
  return line || thrown.name;
}

/** Returns the error for a stack that CloudFormation doesn't describe, with the reason in one line. */
export function createStackError(thrown: unknown, stackName: string, region: string): Error {
  const isMissing = thrown instanceof Error && /does not exist/.test(thrown.message);
  const reason = isMissing ? 'no such stack in this account and region' : describeAwsError(thrown);
  return new Error(`${stackName} in ${region}: ${reason}`, { cause: thrown });
}

function describeMissingCredentials(profile: string | undefined): string {
  if (profile)
    return `the profile ${profile} (AWS_PROFILE) has no credentials: check its name, or sign in (aws sso login)`;
  return 'no AWS credentials: sign in (aws sso login), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';
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
