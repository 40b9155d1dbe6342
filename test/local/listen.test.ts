import { createServer } from 'node:http';
import { expect, it } from 'vitest';
import { listen } from '../../local/listen.ts';

it('idle connections stay open for so long that a busy client sends no request on one that is being closed', async () => {
  const { port, close } = await listen(
    createServer((_, response) => response.end()),
    { port: 0 },
  );
  const { headers } = await fetch(`http://127.0.0.1:${port}`);
  expect(headers.get('keep-alive')).toBe('timeout=65');
  await close();
});
