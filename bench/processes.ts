import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

/** A server in its own process, which shares no event loop with the measured server. */
export interface ServerProcess extends AsyncDisposable {
  /** Base URL, such as `http://127.0.0.1:40123`. */
  readonly url: string;
  readonly pid: number | undefined;
}

/** Maximum milliseconds until a server listens. Long, because a machine that measures is busy. */
const START_TIMEOUT_MS = 20_000;

/**
 * Starts `node <file> <args…>`, a server that prints its URL as its first line.
 * @throws Error with the process's standard error if it exits or prints no line in time
 */
export function startServer(file: string, args: readonly string[] = [], env = process.env): Promise<ServerProcess> {
  const child = spawn(process.execPath, [file, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return waitUntilReady(file, child, async () => {
    const [url]: unknown[] = await once(createInterface(child.stdout), 'line');
    return String(url);
  });
}

/**
 * Starts `node <file> <args…>`, a server that takes its port as an argument.
 * @param args returns the arguments for a port that is currently free
 * @throws Error with the process's standard error if it exits or does not listen in time
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
  let errorOutput = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errorOutput = (errorOutput + text).slice(-4_000);
  });
  const ended = new Promise<undefined>((resolve) => child.once('exit', () => resolve(undefined)));
  const url = await Promise.race([ready(), ended, setTimeout(START_TIMEOUT_MS, undefined, { ref: false })]);
  if (url === undefined) {
    child.kill('SIGKILL');
    throw new Error(`${file} did not start: ${errorOutput}`);
  }
  let expectRunning = true;
  void ended.then(() => {
    if (expectRunning) console.error(`${file} exited unexpectedly: ${errorOutput}`);
  });
  return {
    url,
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      expectRunning = false;
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
