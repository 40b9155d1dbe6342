import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/infra/check/*.test.ts'],
    // Only a test that hangs may time out. The first test of the linters installs them.
    testTimeout: 600_000,
    hookTimeout: 120_000,
  },
});
