import * as http from 'node:http';
import * as https from 'node:https';
import { useAgent } from 'request-filtering-agent';
import { LambentError } from '../../core/errors.ts';
import { isPublicUrl } from './public-url.ts';

/** Far above any real key set. */
const MAX_BYTES = 256 * 1024;
/** Two requests, one after the other, fit into the authorizer's 5 s. */
const TIMEOUT_MS = 1_800;

/** How a document is fetched. */
export interface FetchOptions {
  /** True to permit the address 127.0.0.1 as well, even without TLS. Only the laptop has this. */
  readonly isLoopbackAllowed: boolean;
  /** Resolves host names. Default: the system's resolver. */
  readonly lookup?: http.RequestOptions['lookup'];
}

/**
 * Fetches a JSON document from a URL that someone has configured. The connection goes to the very address that was checked, so
 * that a name can't resolve to a public address first and to a private one then. Follows no redirects.
 * @throws LambentError `issuer_unavailable` if the URL isn't public, the response isn't JSON with status 200 and at most
 * 256 KiB, or takes longer than 1.8 s
 */
export async function fetchPublicJson(text: string, { isLoopbackAllowed, lookup }: FetchOptions): Promise<unknown> {
  if (!isPublicUrl(text, isLoopbackAllowed)) throw unavailableError(text, 'the URL is not public');
  const url = new URL(text);
  const options = {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    headers: { accept: 'application/json' },
    // It checks each address that a name resolves to, and connects to these.
    agent: useAgent(text, { allowIPAddressList: isLoopbackAllowed ? ['127.0.0.1'] : [] }),
    ...(lookup === undefined ? {} : { lookup }),
  };
  try {
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    (url.protocol === 'http:' ? http : https).get(url, options, resolve).on('error', reject);
    const response = await promise;
    if (response.statusCode !== 200) {
      response.destroy();
      throw new Error(`status ${response.statusCode}`);
    }
    return JSON.parse(await readText(response));
  } catch (cause) {
    throw unavailableError(text, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += chunk.length;
    // Leaving the loop destroys the response.
    if (size > MAX_BYTES) throw new Error(`more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function unavailableError(url: string, reason: string, cause?: unknown): LambentError {
  return new LambentError('issuer_unavailable', `${url.slice(0, 200)} can't be fetched: ${reason}`, { cause });
}
