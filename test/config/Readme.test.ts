import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { renderVariableTable } from "../../src/config/VariableTable.ts"

it("README has the table of all variables (node scripts/variables.ts writes it)", () => {
  assert.include(readFileSync(join(import.meta.dirname, "../../README.md"), "utf8"), renderVariableTable())
})
