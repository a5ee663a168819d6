/** Splits a script into its statements: the protocol that binds parameters takes one at a time. */

/** What may hold a semicolon that ends nothing: quoted text and names, dollar quotes, comments. */
const opaque = /'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$[A-Za-z_]*\$)[\s\S]*?\1|--[^\n]*|\/\*[\s\S]*?\*\//y

const isBlank = (statement: string): boolean => statement.replaceAll(/--[^\n]*|\/\*[\s\S]*?\*\//g, "").trim() === ""

export const statementsOf = (script: string): ReadonlyArray<string> => {
  const statements: Array<string> = []
  let start = 0
  let at = 0
  while (at < script.length) {
    opaque.lastIndex = at
    const skipped = opaque.exec(script)
    if (skipped !== null) {
      at += skipped[0].length
      continue
    }
    if (script[at] === ";") {
      statements.push(script.slice(start, at).trim())
      start = at + 1
    }
    at += 1
  }
  statements.push(script.slice(start).trim())
  return statements.filter((statement) => !isBlank(statement))
}
