import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: (process.env['MUTATION_TESTS'] ?? '').split(','),
    // Starting a process per test file would take longer than most tests.
    isolate: false,
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
