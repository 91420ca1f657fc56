import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    // Tests that start real VM processes share two cores: one file at a time keeps their timings honest.
    fileParallelism: false,
  },
});
