/** The claim of a warm wake, and how the other side of the comparison sends it. */
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import type { Projects } from "../../src/services/db/Projects.ts"

export const image = "registry.example/project:1"
export const region = "sjc"

export const claimOf = (projectId: ProjectId): Parameters<Projects["Service"]["beginWake"]>[0] => ({
  projectId,
  operationId: `operation-${projectId}`,
  leaseMs: 60_000,
  claim: { image, region }
})

const literal = (value: unknown): string => {
  if (value === null) return "NULL"
  if (typeof value === "number" || typeof value === "boolean") return String(value)
  return `'${String(value).replaceAll("'", "''")}'`
}

/** The statement as a script of pgbench: the n-th of each of its clients claims for `<prefix>-<client>-<n>`. */
export const pgbenchScript = (
  statement: { readonly sql: string; readonly params: ReadonlyArray<unknown> },
  sample: string,
  prefix: string
): string => {
  const id = `('${prefix}-' || :client_id::text || '-' || :n::text)`
  const sql = statement.sql
    .replaceAll(/\$(\d+)/g, (_, position: string) => {
      const param = statement.params[Number(position) - 1]
      if (typeof param !== "string" || !param.includes(sample)) return literal(param)
      return param === sample ? id : `('${param.replace(sample, "")}' || ${id})`
    })
    .replaceAll(/\s+/g, " ")
  return `\\set n :n + 1\n${sql};\n`
}
