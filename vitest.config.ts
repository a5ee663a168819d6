import { defineConfig } from "vitest/config"

// Tests never sleep, so a test that is still running after a minute hangs.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/globalSetup.ts"],
    fakeTimers: { toFake: [] },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    reporters: ["default", "./test/support/ClosingLine.ts"]
  }
})
