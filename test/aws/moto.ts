import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { installRequirements, mustRunPython } from '../../infra/python.ts';

/** The longest that moto may take to start on a busy machine. */
const START_MS = 120_000;
/** How often moto is started on another port if one is taken meanwhile. */
const MAX_STARTS = 3;

export interface Moto {
  /** The endpoint of all AWS services, such as `http://127.0.0.1:40123`. */
  readonly url: string;
  stop(): Promise<void>;
}

/** True if the tests with moto must run here. */
export const HAS_PYTHON = await mustRunPython();
if (!HAS_PYTHON) console.warn('Skipped: the tests with moto need python3, 3.11 or newer, with its module venv.');

/**
 * Starts moto, a stand-in for AWS, with empty state on a free port. Installs it first if needed (about two minutes).
 * Every request with any credentials is accepted, as account 123456789012.
 * @throws Error if moto can't be installed or doesn't start
 */
export async function startMoto(): Promise<Moto> {
  const python = await installRequirements(import.meta.dirname);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start(python, await findFreePort());
    } catch (error) {
      // Another process may listen on the port before moto does.
      if (attempt === MAX_STARTS || !String(error).includes('is in use')) throw error;
    }
  }
}

async function start(python: string, port: number): Promise<Moto> {
  const url = `http://127.0.0.1:${port}`;
  const server = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    // moto's Lambda service would run functions in Docker; none is invoked through it.
    env: { ...process.env, MOTO_DOCKER_LAMBDA_IMAGE: 'none' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  server.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-4_000);
  });
  // The log is complete when its pipe is closed, which may be after the exit.
  const closed = once(server, 'close');
  try {
    await waitForAnswer(url, server);
  } catch (error) {
    server.kill();
    await closed;
    throw new Error(`moto did not start.\n${log}`, { cause: error });
  }
  return {
    url,
    stop: async () => {
      if (server.exitCode !== null || server.signalCode !== null) return;
      server.kill();
      await once(server, 'exit');
    },
  };
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('The system gave no port');
  return address.port;
}

/** Waits for the first HTTP response. Throws if the server ends before, or doesn't answer in time. */
async function waitForAnswer(url: string, server: ChildProcess): Promise<void> {
  const until = performance.now() + START_MS;
  // Another process that has taken the port may accept the connection and never answer.
  const ended = new AbortController();
  server.once('exit', () => ended.abort());
  for (;;) {
    if (server.exitCode !== null) throw new Error(`moto ended with code ${server.exitCode}`);
    if (performance.now() > until) throw new Error(`moto gave no answer within ${START_MS / 1000} s`);
    const answer = await fetch(`${url}/moto-api/`, { signal: ended.signal }).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
