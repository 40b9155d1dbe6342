import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/aws/**/*.test.ts'],
    // Only a test that hangs may time out.
    testTimeout: 600_000,
    // The first hook installs moto.
    hookTimeout: 600_000,
    maxWorkers: 2,
  },
});
