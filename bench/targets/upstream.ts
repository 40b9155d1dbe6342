/**
 * Server process: an OpenAI-compatible model that responds at once.
 *
 * `node upstream.ts <tokens> <interval-ms>`: the number of tokens of a stream, and the time between them.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { generateStampedTokens } from './tokens.ts';

const [count = 16, intervalMs = 0] = process.argv.slice(2).map(Number);
const COMPLETION = { id: 'chatcmpl-1', created: 1_700_000_000, model: 'bench' };
const USAGE = { prompt_tokens: 12, completion_tokens: count, total_tokens: 12 + count };

const server = createServer(async (request, response) => {
  const body = await text(request);
  if (body.includes('"stream":true')) await sendStream(response);
  else sendCompletion(response);
});
// Longer than any target keeps an idle connection: if the server closed it first, a request of the target would fail.
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));

function sendCompletion(response: ServerResponse): void {
  const message = { role: 'assistant', content: 'token '.repeat(count) };
  const choices = [{ index: 0, message, finish_reason: 'stop' }];
  const body = JSON.stringify({ ...COMPLETION, object: 'chat.completion', choices, usage: USAGE });
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body);
}

async function sendStream(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (delta: object, finish_reason: string | null = null) => {
    const chunk = { ...COMPLETION, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  for await (const content of generateStampedTokens(count, intervalMs)) send({ role: 'assistant', content });
  send({}, 'stop');
  response.end('data: [DONE]\n\n');
}
