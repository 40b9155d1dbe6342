import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

/** A server in a process of its own, so that it shares no event loop with what is measured. */
export interface ServerProcess extends AsyncDisposable {
  /** Its base, such as `http://127.0.0.1:40123`. */
  readonly url: string;
}

/** How long a server may take until it listens. Generous: a machine that measures is a busy one. */
const START_TIMEOUT_MS = 20_000;

/**
 * Starts `node <file> <args…>`, a server that prints its URL as its first line.
 * @throws Error with what the process wrote to standard error when it ends or stays silent
 */
export function startServer(file: string, args: readonly string[] = [], env = process.env): Promise<ServerProcess> {
  const child = spawn(process.execPath, [file, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return waitUntilReady(file, child, async () => {
    const [url]: unknown[] = await once(createInterface(child.stdout), 'line');
    return String(url);
  });
}

/**
 * Starts `node <file> <args…>`, a server that is told its port.
 * @param args is given a port that was free a moment ago
 * @throws Error with what the process wrote to standard error when it ends or does not listen
 */
export async function startServerOnPort(file: string, args: (port: number) => string[]): Promise<ServerProcess> {
  const port = await findFreePort();
  const child = spawn(process.execPath, [file, ...args(port)], { stdio: ['ignore', 'ignore', 'pipe'] });
  return waitUntilReady(file, child, async () => {
    while (!(await isListening(port))) await setTimeout(20);
    return `http://127.0.0.1:${port}`;
  });
}

async function waitUntilReady(file: string, child: ChildProcess, ready: () => Promise<string>): Promise<ServerProcess> {
  let complaints = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-4_000);
  });
  const ended = new Promise<undefined>((resolve) => child.once('exit', () => resolve(undefined)));
  const url = await Promise.race([ready(), ended, setTimeout(START_TIMEOUT_MS, undefined, { ref: false })]);
  if (url === undefined) {
    child.kill('SIGKILL');
    throw new Error(`${file} did not start: ${complaints}`);
  }
  let wanted = true;
  void ended.then(() => {
    if (wanted) console.error(`${file} ended while it was needed: ${complaints}`);
  });
  return {
    url,
    async [Symbol.asyncDispose]() {
      wanted = false;
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
