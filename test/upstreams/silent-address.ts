import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** An address at which nobody answers, not even by a refusal: as that of a machine that is gone. */
export interface SilentAddress extends Disposable {
  readonly url: string;
}

const LISTEN = `
  const server = require('node:net').createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;
/** Beyond what any kernel keeps for a backlog of one. */
const MOST = 20;

/** A process that listens is stopped, and all the room that the kernel has for who wants to connect to it is taken. */
export async function startSilentAddress(): Promise<SilentAddress> {
  const child = spawn(process.execPath, ['-e', LISTEN], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  const port = Number(String(line));
  child.kill('SIGSTOP');
  const sockets: Socket[] = [];
  for (let connected = true; connected && sockets.length < MOST; ) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    connected = await Promise.race([once(socket, 'connect').then(() => true), sleep(300, false)]);
  }
  return {
    url: `http://127.0.0.1:${port}/v1`,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      child.kill('SIGKILL');
    },
  };
}
