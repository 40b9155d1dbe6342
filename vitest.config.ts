import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These need dependencies that `npm ci` doesn't install: `npm run clients`, `npm run aws` and `npm run check` run them.
    exclude: ['test/clients/**', 'test/aws/**', 'test/infra/check/**'],
    globalSetup: 'test/bundles.ts',
    setupFiles: 'test/property-seed.ts',
    // Only a test that hangs may time out: tests start processes and wait for them, which takes long on a busy machine.
    testTimeout: 600_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
