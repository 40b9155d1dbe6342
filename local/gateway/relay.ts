import type { ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import * as v from 'valibot';
import type { FunctionResponse } from '../lambda/invocation.ts';

/**
 * How forwarding a function's response ended:
 * - `sent`: the whole response was sent;
 * - `malformed`: the response is not valid for API Gateway, and nothing was sent;
 * - `cut`: the response ended early, after a part of it was sent.
 */
export type RelayOutcome = 'sent' | 'malformed' | 'cut';

const headerValue = v.union([v.string(), v.number(), v.boolean()]);
const status = v.pipe(v.number(), v.integer(), v.minValue(200), v.maxValue(599));
const head = {
  headers: v.nullish(v.record(v.string(), headerValue)),
  multiValueHeaders: v.nullish(v.record(v.string(), v.array(headerValue))),
};
const preludeSchema = v.object({
  ...head,
  statusCode: v.optional(status, 200),
  cookies: v.nullish(v.array(v.string())),
});
const responseSchema = v.object({
  ...head,
  statusCode: status,
  body: v.nullish(v.string()),
  isBase64Encoded: v.optional(v.boolean(), false),
});

/** Number of bytes in which API Gateway looks for the end of the prelude. */
const MAX_PRELUDE_BYTES = 16 * 1024;
const PRELUDE_END = Buffer.alloc(8);
/** Lambda's limit for a streamed response. */
const MAX_STREAM_BYTES = 200 * 1024 * 1024;

/**
 * Forwards a streamed response (a JSON prelude, eight NUL bytes, then the body), each chunk as soon as it arrives. If
 * the client disconnects, the rest is read and discarded, so that the function runs to its end.
 */
export function relayStreamed(response: FunctionResponse, client: ServerResponse): Promise<RelayOutcome> {
  return new Promise((resolve) => new StreamRelay(response, client, resolve).start());
}

class StreamRelay {
  readonly #response: FunctionResponse;
  readonly #client: ServerResponse;
  readonly #settle: (outcome: RelayOutcome) => void;
  /** The bytes received so far; undefined once the prelude is complete. */
  #prelude: Buffer | undefined = Buffer.alloc(0);
  #sentBytes = 0;
  #over = false;

  constructor(response: FunctionResponse, client: ServerResponse, settle: (outcome: RelayOutcome) => void) {
    this.#response = response;
    this.#client = client;
    this.#settle = settle;
  }

  start(): void {
    const { body } = this.#response;
    body.on('data', (chunk: Buffer) => this.#take(chunk));
    body.once('end', () => this.#end());
    body.once('error', () => this.#stop(this.#prelude === undefined ? 'cut' : 'malformed'));
    this.#client.once('close', () => body.resume());
  }

  #take(chunk: Buffer): void {
    if (this.#over || this.#client.destroyed) return;
    if (this.#prelude === undefined) this.#send(chunk);
    else this.#begin(this.#prelude.length === 0 ? chunk : Buffer.concat([this.#prelude, chunk]));
  }

  #begin(start: Buffer): void {
    const end = start.indexOf(PRELUDE_END);
    if (end === -1 && start.length <= MAX_PRELUDE_BYTES) {
      this.#prelude = start;
    } else if (end === -1 || !sendPrelude(start.toString('utf8', 0, end), this.#client)) {
      this.#stop('malformed');
    } else {
      this.#prelude = undefined;
      const rest = start.subarray(end + PRELUDE_END.length);
      // Sends the status at once, together with any bytes of the body that arrived with it.
      if (rest.length === 0) process.nextTick(() => this.#client.flushHeaders());
      else this.#send(rest);
    }
  }

  #send(chunk: Buffer): void {
    this.#sentBytes += chunk.length;
    if (this.#sentBytes > MAX_STREAM_BYTES) {
      this.#stop('cut');
    } else if (!this.#client.write(chunk)) {
      const { body } = this.#response;
      body.pause();
      this.#client.once('drain', () => body.resume());
    }
  }

  #end(): void {
    if (this.#over) return;
    const whole = this.#prelude === undefined && this.#response.failure() === undefined;
    if (whole) this.#client.end();
    this.#stop(this.#prelude !== undefined ? 'malformed' : whole ? 'sent' : 'cut');
  }

  #stop(outcome: RelayOutcome): void {
    if (this.#over) return;
    this.#over = true;
    if (outcome === 'cut') this.#client.destroy();
    // Reads and discards the rest, so that the function runs to its end.
    this.#response.body.resume();
    this.#settle(outcome);
  }
}

/** Sends the status and headers of a prelude. Returns false and sends nothing if API Gateway would not accept it. */
function sendPrelude(json: string, client: ServerResponse): boolean {
  const prelude = v.safeParse(v.pipe(v.string(), v.parseJson(), preludeSchema), json);
  if (!prelude.success) return false;
  const { statusCode, headers, multiValueHeaders, cookies } = prelude.output;
  return sendHead(client, statusCode, headers ?? {}, {
    ...multiValueHeaders,
    ...(cookies && { 'Set-Cookie': cookies }),
  });
}

/** Forwards a proxy response in one piece: `{statusCode, headers, multiValueHeaders, body, isBase64Encoded}`. */
export async function relayBuffered(
  { body, failure }: FunctionResponse,
  client: ServerResponse,
): Promise<RelayOutcome> {
  const json = await text(body).catch(() => undefined);
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), responseSchema), json);
  if (!parsed.success || failure() !== undefined) return 'malformed';
  const { statusCode, headers, multiValueHeaders, isBase64Encoded } = parsed.output;
  const content = Buffer.from(parsed.output.body ?? '', isBase64Encoded ? 'base64' : 'utf8');
  if (client.destroyed) return 'sent';
  if (!sendHead(client, statusCode, headers ?? {}, multiValueHeaders ?? {}, content.length)) return 'malformed';
  client.end(content);
  return 'sent';
}

type HeaderValue = v.InferOutput<typeof headerValue>;

/** Headers of functions that API Gateway drops, or renames, because it sets them itself. */
const DROPPED = new Set([
  'content-length',
  'transfer-encoding',
  'keep-alive',
  'trailer',
  'te',
  'upgrade',
  'proxy-authenticate',
]);
const REMAPPED = new Set(['connection', 'date', 'server', 'www-authenticate', 'authorization']);

function sendHead(
  client: ServerResponse,
  statusCode: number,
  headers: Readonly<Record<string, HeaderValue>>,
  multiValueHeaders: Readonly<Record<string, HeaderValue[]>>,
  contentLength?: number,
): boolean {
  if (client.destroyed) return true;
  const before = client.getHeaders();
  try {
    for (const [name, value] of Object.entries(headers)) setHeader(client, name, String(value));
    for (const [name, values] of Object.entries(multiValueHeaders)) setHeader(client, name, values.map(String));
    if (contentLength !== undefined && statusCode !== 204 && statusCode !== 304)
      client.setHeader('Content-Length', contentLength);
    client.writeHead(statusCode);
    return true;
  } catch {
    // A name or value is not valid in HTTP. The headers that were set so far must not be part of the error response.
    for (const name of client.getHeaderNames()) client.removeHeader(name);
    for (const [name, value] of Object.entries(before)) if (value !== undefined) client.setHeader(name, value);
    return false;
  }
}

function setHeader(client: ServerResponse, name: string, value: string | string[]): void {
  const lowerName = name.toLowerCase();
  if (DROPPED.has(lowerName)) return;
  client.setHeader(REMAPPED.has(lowerName) ? `x-amzn-Remapped-${name}` : name, value);
}
