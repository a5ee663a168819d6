/** Writes the table of variables into README, between its two markers. A test fails where README has another one. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { renderVariableTable } from "../src/config/VariableTable.ts"

const path = join(import.meta.dirname, "..", "README.md")
const [begin, end] = ["<!-- variables:begin -->", "<!-- variables:end -->"]
const readme = readFileSync(path, "utf8")
const from = readme.indexOf(begin)
const to = readme.indexOf(end)
if (from < 0 || to < from) throw new Error(`README.md needs a line ${begin} and, behind it, a line ${end}`)
writeFileSync(path, `${readme.slice(0, from + begin.length)}\n${renderVariableTable()}\n${readme.slice(to)}`)
