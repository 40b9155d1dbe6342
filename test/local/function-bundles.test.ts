import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { startBundling } from '../../local/function-bundles.ts';

it('startBundling bundles chat and authorize at once, and the other functions when bundleRest is called', async () => {
  const bundles = startBundling(resolve(import.meta.dirname, '../../.build'));
  await bundles.whenBundled('chat');
  await bundles.whenBundled('authorize');
  let isBundled = false;
  const generate = bundles.whenBundled('generate').then(() => {
    isBundled = true;
  });
  await bundles.first;
  expect(isBundled).toBe(false);
  await bundles.bundleRest();
  await generate;
});
