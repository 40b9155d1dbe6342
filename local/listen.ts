import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Listening {
  readonly port: number;
  /** Stops listening, cuts all connections, and resolves when they are closed. */
  close(): Promise<void>;
}

/**
 * Makes a server listen on 127.0.0.1 only.
 * @param port 0 for any free port
 * @throws Error with the system's code (`EADDRINUSE`…) if it can't listen
 */
export async function listen(server: Server, { port }: { port: number }): Promise<Listening> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: readPort(server.address()),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function readPort(address: string | AddressInfo | null): number {
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return address.port;
}
