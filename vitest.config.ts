import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['__test__/**/*.test.ts'],
    // Some suites start servers, processes and whole npm installs; a hang still ends.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Two cores are the smallest machine; servers and worker threads want one of them.
    maxWorkers: 2,
  },
})
