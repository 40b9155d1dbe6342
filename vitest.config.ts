import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These need dependencies that `npm ci` doesn't install: `npm run clients` and `npm run check` run them.
    exclude: ['test/clients/**', 'test/infra/check/**'],
    globalSetup: 'test/bundles.ts',
    // Only for what hangs: tests start processes and drive them over the network, which a busy machine makes slow, not wrong.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
