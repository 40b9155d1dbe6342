import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';

/** An answer of the service with an error status. */
export interface Refusal {
  /** `POST /v1/responses`, without the query. */
  readonly request: string;
  readonly status: number;
  readonly body: string;
}

export interface Watch extends AsyncDisposable {
  /** The API's base URL by way of this server. */
  readonly url: string;
  /** The error statuses so far. A client that repeats requests would hide them. */
  readonly refusals: readonly Refusal[];
  /** Numbers of requests so far, by method and path. */
  readonly counts: ReadonlyMap<string, number>;
}

/**
 * Starts a server that passes every request on to the service and records those that the service refuses.
 * @param service the API's base URL
 */
export async function watchService(service: string): Promise<Watch> {
  const refusals: Refusal[] = [];
  const counts = new Map<string, number>();
  const { host, pathname } = new URL(service);

  async function pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { method = '', url = '', rawHeaders } = incoming;
    const name = `${method} ${url.split('?')[0]}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    const upstream = request(`http://${host}${url}`, { method, headers: rawHeaders, agent: false });
    outgoing.on('close', () => upstream.destroy());
    incoming.pipe(upstream);
    const [response]: IncomingMessage[] = await once(upstream, 'response');
    const status = response?.statusCode ?? 0;
    outgoing.writeHead(status, response?.rawHeaders);
    if (status < 400) {
      response?.pipe(outgoing);
      return;
    }
    const body = response ? await buffer(response) : Buffer.alloc(0);
    refusals.push({ request: name, status, body: body.toString('utf8').slice(0, 500) });
    outgoing.end(body);
  }

  const server = createServer((incoming, outgoing) => {
    pass(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return {
    url: `http://127.0.0.1:${address.port}${pathname}`,
    refusals,
    counts,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
