/**
 * Server process: the chat function's code without Lambda. An HTTP server passes each request to the bundle's handler
 * as an event and sends the handler's stream as the response. The event is an object, as Lambda's runtime passes it on:
 * its JSON, which API Gateway makes and the runtime parses, isn't the function's. Requests run concurrently.
 *
 * `node handler.ts <the function's definition as JSON> [<the caller's policy as JSON>]`
 */
import { openSync, writeSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { FunctionDefinition } from '../../local/lambda/function.ts';
import { createProxyEvent } from './lambda-events.ts';

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
const policy = process.argv[3];
Object.assign(process.env, definition.environment);
const { handler } = (await import(join(definition.taskRoot, 'index.mjs'))) as { handler: Handler };
const context = { awsRequestId: 'bench', getRemainingTimeInMillis: () => definition.timeoutMs };

const server = createServer(async (request, response) => {
  await handler(createProxyEvent(request.url ?? '', await text(request), policy), response, context);
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  // The function's log lines are discarded, like the other targets': a process that reads them would take their time.
  const discarded = openSync(devNull, 'w');
  process.stdout.write = (line) => writeSync(discarded, String(line)) >= 0;
});
