import type { Reporter, TestCase } from "vitest/node"

/** Says at the very end, in one plain line, how many tests passed and failed. */
export default class ClosingLine implements Reporter {
  private passed = 0
  private failed = 0

  onTestCaseResult(test: TestCase): void {
    const { state } = test.result()
    if (state === "passed") this.passed += 1
    if (state === "failed") this.failed += 1
  }

  onTestRunEnd(): void {
    process.on("exit", () => process.stdout.write(`${this.passed} passed, ${this.failed} failed\n`))
  }
}
