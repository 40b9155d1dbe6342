import { LambentError } from './errors.ts';

/** Looks up what a reference such as `env:OPENAI_API_KEY` stands for. */
export type SecretResolver = (reference: string) => Promise<string>;

export interface SecretResolverOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds for which a value from AWS is used without asking again; a rotated key is seen after that. */
  readonly ttlMs?: number;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/** Five minutes: a rotation reaches every environment soon, and a busy service asks a few times an hour. */
const DEFAULT_TTL_MS = 300_000;

/** Whether `text` is a reference, not a value: `env:NAME`, `ssm:NAME` or `secret:NAME`. */
export function isSecretReference(text: string): boolean {
  return /^(env|ssm|secret):./.test(text);
}

/**
 * Makes the resolver of one function environment. `env:NAME` reads `environment`; `ssm:NAME` is an SSM parameter,
 * `secret:NAME` a Secrets Manager secret (a plain string). Those are remembered for `ttlMs`; simultaneous look-ups share
 * one call, a failure is not remembered, and while AWS can't be asked the last known value goes on serving.
 *
 * The resolver throws a LambentError that names the reference, never a value: `configuration` where the operator has to
 * mend it (missing, empty, not allowed), `upstream_unavailable` where waiting helps.
 */
export function createSecretResolver(options: SecretResolverOptions): SecretResolver {
  const { environment, ttlMs = DEFAULT_TTL_MS, now = Date.now } = options;
  const known = new Map<string, { readonly value: string; readonly freshUntil: number }>();
  const pending = new Map<string, Promise<string>>();

  const lookUp = async (reference: string, read: () => Promise<string | undefined>): Promise<string> => {
    try {
      const value = present(reference, await read());
      known.set(reference, { value, freshUntil: now() + ttlMs });
      return value;
    } catch (thrown) {
      const error = lookUpError(reference, thrown);
      const last = known.get(reference);
      if (last !== undefined && error.retryable) return last.value;
      throw error;
    } finally {
      pending.delete(reference);
    }
  };

  const remembered = async (reference: string, read: () => Promise<string | undefined>): Promise<string> => {
    const last = known.get(reference);
    if (last !== undefined && now() < last.freshUntil) return last.value;
    const begun = pending.get(reference) ?? lookUp(reference, read);
    pending.set(reference, begun);
    return begun;
  };

  return async (reference) => {
    const colon = reference.indexOf(':');
    const name = reference.slice(colon + 1);
    switch (reference.slice(0, colon)) {
      case 'env':
        return present(reference, environment[name]);
      case 'ssm':
        return remembered(reference, () => readParameter(name));
      case 'secret':
        return remembered(reference, () => readSecret(name));
      default:
        // Not quoted: whoever got the syntax wrong may have put the key itself there.
        throw new LambentError('configuration', 'A secret is not a reference (env:NAME, ssm:NAME or secret:NAME)');
    }
  };
}

/** The value without the line break that files and consoles append. */
function present(reference: string, value: string | undefined): string {
  const trimmed = value?.trim() ?? '';
  if (trimmed === '') throw new LambentError('configuration', `${reference} is missing or empty`);
  return trimmed;
}

/** Milliseconds: a look-up that hangs has to fail while the call that waits for it can still go elsewhere. */
const TIMEOUTS = { connectionTimeout: 2_000, requestTimeout: 3_000, throwOnRequestTimeout: true };

// The clients are loaded when a reference first needs one: most deployments name their keys by environment variable,
// and a cold start should not pay for what it doesn't use.
let parameters: Promise<(name: string) => Promise<string | undefined>> | undefined;
let secrets: Promise<(id: string) => Promise<string | undefined>> | undefined;

async function readParameter(name: string): Promise<string | undefined> {
  parameters ??= import('@aws-sdk/client-ssm').then(({ SSMClient, GetParameterCommand }) => {
    const client = new SSMClient({ requestHandler: TIMEOUTS });
    return async (parameter) => {
      const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
      return Parameter?.Value;
    };
  });
  return (await parameters)(name);
}

async function readSecret(id: string): Promise<string | undefined> {
  secrets ??= import('@aws-sdk/client-secrets-manager').then(({ SecretsManagerClient, GetSecretValueCommand }) => {
    const client = new SecretsManagerClient({ requestHandler: TIMEOUTS });
    return async (secret) => (await client.send(new GetSecretValueCommand({ SecretId: secret }))).SecretString;
  });
  return (await secrets)(id);
}

/** What AWS said, as the operator's to mend or as a passing failure. Its messages name the resource, not the value. */
function lookUpError(reference: string, cause: unknown): LambentError {
  if (cause instanceof LambentError) return cause;
  const name = cause instanceof Error ? cause.name : 'unknown failure';
  const message = `${reference} could not be read (${name})`;
  return new LambentError(isPassing(name, cause) ? 'upstream_unavailable' : 'configuration', message, { cause });
}

function isPassing(name: string, cause: unknown): boolean {
  if (/throttl|toomanyrequests|limitexceeded/i.test(name)) return true;
  // No credentials, no region: nothing was asked, and waiting changes nothing.
  if (/credentials|token|region/i.test(`${name} ${cause instanceof Error ? cause.message : ''}`)) return false;
  const status: unknown = Reflect.get(Object(Reflect.get(Object(cause), '$metadata')), 'httpStatusCode');
  return typeof status !== 'number' || status === 429 || status >= 500;
}
