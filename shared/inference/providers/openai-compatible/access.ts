import { LambentError } from '../../../core/errors.ts';
import { isSecretReference } from '../../../core/secrets.ts';
import { UpstreamError } from '../../model.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';

/** The headers of a request, and a function that removes their secrets from texts. */
export interface Access {
  readonly headers: Readonly<Record<string, string>>;
  readonly redact: (text: string) => string;
}

/** Shorter values are not secrets, and replacing them would garble texts. */
const SHORTEST_SECRET = 8;

/**
 * Returns the headers of a target's requests.
 * @throws UpstreamError as `resolveSecret`
 */
export async function resolveAccess(
  target: Pick<OpenAICompatibleTarget, 'apiKey' | 'headers'>,
  secret: (reference: string) => Promise<string>,
): Promise<Access> {
  const secrets: string[] = [];
  const resolve = async (reference: string): Promise<string> => {
    const value = await resolveSecret(reference, secret);
    if (value.length >= SHORTEST_SECRET) secrets.push(value);
    return value;
  };
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'accept-encoding': 'identity',
    'user-agent': 'lambent',
  };
  for (const [name, value] of Object.entries(target.headers ?? {})) {
    headers[name.toLowerCase()] = isSecretReference(value) ? await resolve(value) : value;
  }
  if (target.apiKey !== undefined) headers['authorization'] = `Bearer ${await resolve(target.apiKey)}`;
  return { headers, redact: (text) => secrets.reduce((clean, value) => clean.replaceAll(value, '[redacted]'), text) };
}

/**
 * Resolves a reference to a key or a header.
 * @throws UpstreamError `upstream_unavailable` if the failure is transient, else `upstream_misconfigured`
 */
export async function resolveSecret(
  reference: string,
  secret: (reference: string) => Promise<string>,
): Promise<string> {
  try {
    return await secret(reference);
  } catch (cause) {
    const isTransient = cause instanceof LambentError && cause.retryable;
    const message = cause instanceof LambentError ? cause.message : `${reference} could not be resolved`;
    if (isTransient) throw new UpstreamError('upstream_unavailable', message, { recovery: 'retry', cause });
    // Another target with another key may work.
    throw new UpstreamError('upstream_misconfigured', message, { recovery: 'nextTarget', cause });
  }
}

/** Waits for `work`, but rejects as soon as the signal aborts, so that a hanging lookup of a key can't block a call. */
export function rejectOnAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Appends a path such as `chat/completions` to the base URL, before a query such as Azure's `?api-version=…`. */
export function toEndpoint({ baseUrl }: Pick<OpenAICompatibleTarget, 'baseUrl'>, path: string): URL {
  const url = new URL(baseUrl);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`;
  return url;
}
