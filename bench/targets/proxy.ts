/**
 * Server process: the smallest gateway, a `node:http` proxy that forwards bytes without inspecting them.
 *
 * `node proxy.ts <upstream-url>`
 */
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';

const upstream = new URL(process.argv[2] ?? '');
const agent = new Agent({ keepAlive: true });

const server = createServer((request, response) => {
  const { method, headers, url } = request;
  const onward = httpRequest(new URL(url ?? '/', upstream), { method, headers, agent }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    pipeline(answer, response, ignore);
  });
  onward.on('error', () => response.destroy());
  pipeline(request, onward, ignore);
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));

/** `pipeline` already destroys the other stream if one fails. */
function ignore(): void {}
