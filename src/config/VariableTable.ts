/** The table of all variables as README shows it; `valet doctor --variables` prints it. */
import { groups } from "./Variables.ts"
import type { Documented } from "./Variable.ts"

/** A pipe would end the cell, in code spans too. */
const cell = (text: string): string => text.replaceAll("|", "\\|")

/** Names of variables in a default stand in prose; everything else is literal. */
const shownDefault = ({ default: text, required }: Documented): string =>
  text === null ? (required ? "required" : "") : /\s|^[A-Z][A-Z0-9_]+$/.test(text) ? text : `\`${text}\``

export const renderVariableTable = (): string =>
  groups
    .map(({ title, variables }) =>
      [
        `**${title}**`,
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
        ...variables.map((row) => `| \`${row.name}\` | ${cell(shownDefault(row))} | ${cell(row.meaning)} |`)
      ].join("\n")
    )
    .join("\n\n")
