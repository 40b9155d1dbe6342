import { createServer as createTcpServer } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Service, startService } from '../end-to-end/service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service[Symbol.asyncDispose]());

/** Listens on a port and counts connections, whatever protocol they speak. */
async function startTrap() {
  let connections = 0;
  const server = createTcpServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The trap has no port');
  return {
    port: address.port,
    countConnections: () => connections,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

/** An allowed host's server would redirect: a URL that is not fetched can't. */
const listUrls = (port: number): string[] => [
  `http://127.0.0.1:${port}/`,
  `https://127.0.0.1:${port}/latest/meta-data/`,
  `http://localhost:${port}/`,
  `http://2130706433:${port}/`,
  `http://0x7f000001:${port}/`,
  `http://[::ffff:127.0.0.1]:${port}/`,
  `http://images.example.com@127.0.0.1:${port}/`,
  `https://127.0.0.1:${port}/images.example.com`,
  `file:///proc/self/environ`,
  `gopher://127.0.0.1:${port}/`,
  'http://169.254.169.254/latest/meta-data/iam/security-credentials/',
];

/** Every request with a URL that a caller gives, by its path. */
const listRequests = (model: string, url: string): readonly (readonly [path: string, body: object])[] => [
  ['/chat/completions', { model, messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] }],
  [
    '/chat/completions',
    { model, messages: [{ role: 'user', content: [{ type: 'file', file: { file_data: url, filename: 'a.pdf' } }] }] },
  ],
  [
    '/responses',
    { model, input: [{ role: 'user', content: [{ type: 'input_image', image_url: url, detail: 'auto' }] }] },
  ],
  ['/responses', { model, input: [{ role: 'user', content: [{ type: 'input_file', file_url: url }] }] }],
  ['/responses', { model, input: 'Hi', tools: [{ type: 'mcp', server_label: 'a', server_url: url }] }],
  [
    '/responses',
    { model, input: 'Hi', tools: [{ type: 'mcp', server_label: 'a', connector_id: url, authorization: url }] },
  ],
  ['/responses/compact', { model, input: [{ role: 'user', content: [{ type: 'input_file', file_url: url }] }] }],
  ['/responses/input_tokens', { model, input: [{ role: 'user', content: [{ type: 'input_image', image_url: url }] }] }],
  ['/conversations', { items: [{ role: 'user', content: [{ type: 'input_image', image_url: url, detail: 'auto' }] }] }],
  ['/conversations', { items: [{ role: 'user', content: [{ type: 'input_file', file_url: url }] }] }],
  [
    '/messages',
    { model, max_tokens: 9, messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url } }] }] },
  ],
  [
    '/messages',
    {
      model,
      max_tokens: 9,
      messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'url', url } }] }],
    },
  ],
  [
    '/messages',
    {
      ...{ model, max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] },
      mcp_servers: [{ type: 'url', name: 'a', url }],
    },
  ],
];

it.each(['compatible', 'bedrock'])(
  'no URL that a caller gives is fetched, nor passed to a model %s, unless it is of an allowed host',
  async (model) => {
    await using trap = await startTrap();
    const asked = service.upstream.requests.length;
    for (const url of listUrls(trap.port)) {
      for (const [path, body] of listRequests(model, url)) {
        const response = await fetch(`${service.cloud.url}${path}`, {
          method: 'POST',
          headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
          body: JSON.stringify(body),
        });
        const text = await response.text();
        expect(response.status, `${path} ${JSON.stringify(body)} ${text}`).toBeLessThan(500);
      }
    }
    expect(trap.countConnections()).toBe(0);
    await expect(fetch(`http://127.0.0.1:${trap.port}/`)).rejects.toThrow();
    expect(trap.countConnections()).toBe(1);
    // What refers to a file or a server is dropped or refused. A URL may remain in no request to a model.
    const sent = service.upstream.requests.slice(asked).map(({ body }) => JSON.stringify(body));
    expect(sent.filter((text) => text.includes(String(trap.port)) || text.includes('169.254'))).toEqual([]);
  },
);
