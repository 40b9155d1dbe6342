import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** An address that neither accepts nor refuses connections, like that of a terminated machine. */
export interface SilentAddress extends Disposable {
  readonly url: string;
}

const LISTEN = `
  const server = require('node:net').createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;
/** More connections than a kernel queues for a backlog of 1. */
const MAX_CONNECTIONS = 20;

/**
 * Starts a process that listens, stops it with SIGSTOP, and fills its accept queue, so that further connection attempts
 * hang.
 */
export async function startSilentAddress(): Promise<SilentAddress> {
  const child = spawn(process.execPath, ['-e', LISTEN], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  const port = Number(String(line));
  child.kill('SIGSTOP');
  const sockets: Socket[] = [];
  for (let connected = true; connected && sockets.length < MAX_CONNECTIONS; ) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    await Promise.race([once(socket, 'connect'), sleep(300)]);
    // If this process was held up, the timer comes before the event of a connection that was made at once.
    await nextTurn();
    connected = !socket.connecting;
  }
  return {
    url: `http://127.0.0.1:${port}/v1`,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      child.kill('SIGKILL');
    },
  };
}
