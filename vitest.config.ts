import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Many times what they take: the machine may have other things to do.
    testTimeout: 180_000,
    // Tests that start real VM processes share two cores: one file at a time keeps their timings honest.
    fileParallelism: false,
    // No VM finds translations that another one has kept, so what a test does is the same each time; unless they are what is tested.
    env: { XDG_CACHE_HOME: process.env.GODWIT_CACHE ?? '/dev/null' },
  },
});
