/**
 * Server process: the chat function's code without Lambda. An HTTP server passes each request to the bundle's handler
 * as an event and sends the handler's stream as the response. Requests run concurrently.
 *
 * `node handler.ts <the function's definition as JSON>`
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { FunctionDefinition } from '../../local/lambda/function.ts';
import { createChatEvent } from './lambda-events.ts';

type Handler = (event: unknown, stream: ServerResponse, context: object) => Promise<unknown>;

Object.assign(globalThis, {
  awslambda: {
    streamifyResponse: (handler: Handler) => handler,
    HttpResponseStream: {
      from: (stream: ServerResponse, head: { statusCode: number; headers: Record<string, string> }) =>
        stream.writeHead(head.statusCode, head.headers),
    },
  },
});

const definition = JSON.parse(process.argv[2] ?? '') as FunctionDefinition;
Object.assign(process.env, definition.environment);
const { handler } = (await import(join(definition.taskRoot, 'index.mjs'))) as { handler: Handler };
const context = { awsRequestId: 'bench', getRemainingTimeInMillis: () => definition.timeoutMs };

const server = createServer(async (request, response) => {
  await handler(JSON.parse(createChatEvent(await text(request))), response, context);
});
server.keepAliveTimeout = 60_000;
// The function logs to standard output, after this line.
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
