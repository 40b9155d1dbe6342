/**
 * Server process: the chat function under the Lambda runner. A minimal HTTP front, the runner, and the function's
 * processes behind the Runtime API.
 *
 * `node runner.ts <the function's definition as JSON>`
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { FunctionDefinition } from '../../local/lambda/function.ts';
import { startRunner } from '../../local/lambda/runner.ts';
import { provideCredentials, REGION } from './functions.ts';
import { createChatEvent } from './lambda-events.ts';
import { splitHead } from './split-head.ts';

const definition = JSON.parse(process.argv[2] ?? '') as FunctionDefinition;
const runner = await startRunner({ functions: [definition], region: REGION, credentials: provideCredentials });
process.once('SIGTERM', () => void runner.close().then(() => process.exit(0)));

const server = createServer((request, response) => {
  serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { body } = await runner.invoke(definition.name, createChatEvent(await text(request)));
  for await (const { head, bytes } of splitHead(body)) {
    if (head !== undefined) response.writeHead(head.statusCode, head.headers);
    if (bytes.length > 0) response.write(bytes);
  }
  response.end();
}
