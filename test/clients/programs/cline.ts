import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { check, expectText } from '../node/check.ts';
import { apiKey, baseURL, findFile, PROMPTS, run } from './program.ts';

const cline = findFile('cline', 'bin/cline');
const configure = ['auth', 'openai', '--apikey', apiKey, '--baseurl', baseURL, '--modelid', 'default'];
await run({ command: process.execPath, args: [cline, ...configure] });

// Without a terminal, only the Agent Client Protocol, which editors use, continues a conversation: JSON-RPC by lines.
const args = [cline, '--acp', '--auto-approve', 'true'];
// In this mode only these variables choose another provider than Cline's own.
const selection = { CLINE_PROVIDER: 'openai-compatible', CLINE_MODEL: 'default', CLINE_API_KEY: apiKey };
const env = { ...process.env, ...selection };
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
await check('tools', async () => {
  expectText(await ask(PROMPTS.first.prompt), PROMPTS.first.answer);
});
await check('second turn', async () => {
  expectText(await ask(PROMPTS.next.prompt), PROMPTS.next.answer);
});
process.exit();
