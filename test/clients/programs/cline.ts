import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { apiKey, baseURL, checkTask, findFile, home, run } from './program.ts';

const cline = findFile('cline', 'bin/cline');
const configure = ['auth', 'openai', '--apikey', apiKey, '--baseurl', baseURL, '--modelid', 'default'];
await run({ command: process.execPath, args: [cline, ...configure] });

// Without a terminal, only the Agent Client Protocol, which editors use, continues a conversation: JSON-RPC by lines.
const args = [cline, '--acp', '--auto-approve', 'true'];
// In this mode only these variables choose another provider than Cline's own.
const selection = { CLINE_PROVIDER: 'openai-compatible', CLINE_MODEL: 'default', CLINE_API_KEY: apiKey };
// It starts a background process, by default on a fixed port, which other runs would use as well and which never ends.
const hubFile = join(home, 'hub.json');
const hub = { CLINE_HUB_DISCOVERY_PATH: hubFile, CLINE_HUB_PORT: String(await findFreePort()) };
const env = { ...process.env, ...selection, ...hub };
const child = spawn(process.execPath, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
const waiting = new Map<number, PromiseWithResolvers<Message>>();
let said = '';

interface Message {
  readonly id?: number;
  readonly result?: { readonly sessionId?: string };
  readonly error?: unknown;
  readonly params?: { readonly update?: { readonly sessionUpdate?: string; readonly content?: { text?: string } } };
}

createInterface(child.stdout).on('line', (line) => {
  if (!line.startsWith('{')) return;
  const message: Message = JSON.parse(line);
  const { sessionUpdate, content } = message.params?.update ?? {};
  if (sessionUpdate === 'agent_message_chunk') said += content?.text ?? '';
  if (message.id === undefined) return;
  if (message.error === undefined) waiting.get(message.id)?.resolve(message);
  else waiting.get(message.id)?.reject(new Error(JSON.stringify(message.error)));
});
child.on('exit', (code) => {
  for (const { reject } of waiting.values()) reject(new Error(`cline --acp ended with ${code}`));
});

function call(method: string, params: object): Promise<Message> {
  const id = waiting.size;
  const answer = Promise.withResolvers<Message>();
  waiting.set(id, answer);
  child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
  return answer.promise;
}

async function ask(text: string): Promise<string> {
  said = '';
  await call('session/prompt', { sessionId, prompt: [{ type: 'text', text }] });
  return said;
}

await call('initialize', { protocolVersion: 1, clientCapabilities: {} });
const { result } = await call('session/new', { cwd: process.cwd(), mcpServers: [] });
const sessionId = result?.sessionId;
await checkTask(ask, ask);
await readFile(hubFile, 'utf8').then(
  (text) => process.kill(JSON.parse(text).pid),
  // It didn't start one.
  () => undefined,
);
process.exit();

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
