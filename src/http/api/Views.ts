/** Rows as the API shows them. */
import * as DateTime from "effect/DateTime"
import type { ProjectInfo } from "../../contract/Api.ts"
import type { Project } from "../../domain/Project.ts"

export const iso = (ms: number): string => DateTime.formatIso(DateTime.makeUnsafe(ms))
export const isoOrNull = (ms: number | null): string | null => (ms === null ? null : iso(ms))

/** Only for living projects; a tombstone has no state to show and is answered with 404 before. */
export const livingState = (project: Project): "active" | "suspended" | "dormant" =>
  project.state === "deleted" ? "dormant" : project.state

export const projectInfo = (project: Project): ProjectInfo => ({
  project_id: project.projectId,
  state: livingState(project),
  operation: project.operation,
  region: project.region,
  generation: project.generation,
  created_at: iso(project.createdAt),
  last_active_at: iso(project.lastActiveAt)
})

/** Where a browser reaches the project: the template, its own host under the domain, or a path of this host. */
export const projectUrl = (input: {
  readonly projectId: string
  readonly template: string | null
  readonly domain: string | null
  readonly host: string | undefined
  readonly scheme: "http" | "https"
}): string => {
  if (input.template !== null) return input.template.replaceAll("{project_id}", input.projectId)
  const host = input.host ?? "localhost"
  if (input.domain === null) return `${input.scheme}://${host}/projects/${input.projectId}/`
  const port = /:\d+$/.exec(host)?.[0] ?? ""
  return `${input.scheme}://${input.projectId}.${input.domain}${port}/`
}
