import { DearestFirst } from "./test/support/DearestFirst.ts"
import { defineConfig } from "vitest/config"

// Tests never sleep, so a test that is still running after a minute hangs.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/globalSetup.ts"],
    fakeTimers: { toFake: [] },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Most of a small file's time was the loading of Effect. The files of a worker share what they import: no module
    // keeps state that a test changes, and what a test starts ends with it.
    isolate: false,
    // One more than cores: tests of processes wait for them.
    maxWorkers: 3,
    sequence: { sequencer: DearestFirst },
    reporters: ["default", "./test/support/ClosingLine.ts"]
  }
})
