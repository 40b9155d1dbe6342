import { LambentError } from './errors.ts';

/** Resolves a reference such as `env:OPENAI_API_KEY` to its secret. */
export type SecretResolver = (reference: string) => Promise<string>;

export interface SecretResolverOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds for which a value from AWS is cached. A rotated key takes effect after that. */
  readonly ttlMs?: number;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/** Five minutes: a rotation soon reaches every environment, at a few lookups per hour. */
const DEFAULT_TTL_MS = 300_000;

/** True if `text` is a reference (`env:NAME`, `ssm:NAME` or `secret:NAME`), not a value. */
export function isSecretReference(text: string): boolean {
  return /^(env|ssm|secret):./.test(text);
}

/**
 * Creates a secret resolver. `env:NAME` reads `environment`; `ssm:NAME` is an SSM parameter, `secret:NAME` a Secrets
 * Manager secret (a plain string). Values from AWS are cached for `ttlMs`, concurrent lookups share one call, failures
 * are not cached, and while AWS is unavailable an expired value stays in use.
 *
 * The resolver throws a LambentError that names the reference, never a value: `configuration` if the operator must fix
 * it (missing, empty, access denied), `upstream_unavailable` if waiting helps.
 */
export function createSecretResolver(options: SecretResolverOptions): SecretResolver {
  const { environment, ttlMs = DEFAULT_TTL_MS, now = Date.now } = options;
  // Bounded by the references in `models.json`.
  const cache = new Map<string, { readonly value: string; readonly freshUntil: number }>();
  const pending = new Map<string, Promise<string>>();

  const load = async (reference: string, read: () => Promise<string | undefined>): Promise<string> => {
    try {
      const value = requirePresent(reference, await read());
      cache.set(reference, { value, freshUntil: now() + ttlMs });
      return value;
    } catch (thrown) {
      const error = toLookupError(reference, thrown);
      const last = cache.get(reference);
      if (last !== undefined && error.retryable) return last.value;
      throw error;
    } finally {
      pending.delete(reference);
    }
  };

  const loadCached = async (reference: string, read: () => Promise<string | undefined>): Promise<string> => {
    const last = cache.get(reference);
    if (last !== undefined && now() < last.freshUntil) return last.value;
    const call = pending.get(reference) ?? load(reference, read);
    pending.set(reference, call);
    return call;
  };

  return async (reference) => {
    const colon = reference.indexOf(':');
    const name = reference.slice(colon + 1);
    switch (reference.slice(0, colon)) {
      case 'env':
        return requirePresent(reference, environment[name]);
      case 'ssm':
        return loadCached(reference, () => readParameter(name));
      case 'secret':
        return loadCached(reference, () => readSecret(name));
      default:
        // Not quoted: with wrong syntax, it may be the key itself.
        throw new LambentError('configuration', 'A secret is not a reference (env:NAME, ssm:NAME or secret:NAME)');
    }
  };
}

/**
 * Returns the value without the line break that files and consoles append.
 * @throws LambentError `configuration` if it is missing or empty
 */
function requirePresent(reference: string, value: string | undefined): string {
  const trimmed = value?.trim() ?? '';
  if (trimmed === '') throw new LambentError('configuration', `${reference} is missing or empty`);
  return trimmed;
}

/** In milliseconds. A hanging lookup must fail while its request can still use another target. */
const TIMEOUTS = { connectionTimeout: 2_000, requestTimeout: 3_000, throwOnRequestTimeout: true };

// The clients are loaded when a reference first needs them, because most deployments have their keys in environment
// variables, and loading would slow down every cold start.
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

/**
 * Converts an AWS error to `upstream_unavailable` if it is transient, to `configuration` if the operator must fix it.
 * AWS's messages name the resource, not the value.
 */
function toLookupError(reference: string, cause: unknown): LambentError {
  if (cause instanceof LambentError) return cause;
  const name = cause instanceof Error ? cause.name : 'unknown failure';
  const message = `${reference} could not be read (${name})`;
  return new LambentError(isTransient(name, cause) ? 'upstream_unavailable' : 'configuration', message, { cause });
}

function isTransient(name: string, cause: unknown): boolean {
  if (/throttl|toomanyrequests|limitexceeded/i.test(name)) return true;
  // Without credentials or region no request was made, and waiting changes nothing.
  if (/credentials|token|region/i.test(`${name} ${cause instanceof Error ? cause.message : ''}`)) return false;
  const status: unknown = Reflect.get(Object(Reflect.get(Object(cause), '$metadata')), 'httpStatusCode');
  return typeof status !== 'number' || status === 429 || status >= 500;
}
