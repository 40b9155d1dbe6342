import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These need dependencies that `npm ci` doesn't install: `npm run clients` and `npm run check` run them.
    exclude: ['test/clients/**', 'test/infra/check/**'],
    globalSetup: 'test/bundles.ts',
    // Tests start processes of their own and drive them over the network; a busy machine makes that slow, not wrong.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
