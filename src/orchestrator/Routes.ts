/**
 * Whom a request is for, from its method, target and Host alone. Total: whatever a client sends has a route.
 *
 * By Host: `<id>.<domain>`, or a name that a project's `valet.json` lists, is that project with its whole path. By path
 * on every other host: `/projects/<id>/…` is that project, anything else the orchestrator's own. A project's
 * `/internal/…` is nobody's.
 */
import { isIP } from "node:net"
import * as ProjectId from "../domain/ProjectId.ts"
import { isInternal } from "../proxy/InternalPath.ts"
import { hostName } from "./Caller.ts"

export interface ToProject {
  readonly _tag: "Project"
  readonly project: ProjectId.ProjectId
  /** Path and query for its server; but for the prefix as received. */
  readonly target: string
  /** `/projects/<id>` where it was taken off. */
  readonly prefix: string | null
}

export type Route =
  | ToProject
  | { readonly _tag: "Own" }
  | { readonly _tag: "Redirect"; readonly location: string }
  | { readonly _tag: "Refused"; readonly status: 400 | 404; readonly detail: string }

/** A host that has to be looked up before its route is known. */
export type Routed = Route | { readonly _tag: "Lookup"; readonly host: string }

export interface RouteInput {
  readonly method: string
  /** The request target as received. */
  readonly target: string
  /** As the client addressed it; null where it said none. */
  readonly host: string | null
  readonly upgrade: boolean
}

const refused = (status: 400 | 404, detail: string): Route => ({ _tag: "Refused", status, detail })
const noProject = refused(404, "There is no such project.")

const pathOf = (target: string): string => {
  const end = target.search(/[?#]/)
  return end === -1 ? target : target.slice(0, end)
}

const toProject = (project: ProjectId.ProjectId, target: string, prefix: string | null): Route =>
  isInternal(pathOf(target)) ? refused(404, "There is no such path.") : { _tag: "Project", project, target, prefix }

/** The project's own host: nothing of the path is the orchestrator's. */
export const onHost = (project: ProjectId.ProjectId, { target }: RouteInput): Route => toProject(project, target, null)

const projects = "/projects/"

/** A host that is no project's. */
export const byPath = ({ method, target, upgrade }: RouteInput): Route => {
  if (!target.startsWith(projects)) return { _tag: "Own" }
  const [, id = "", rest = ""] = /^\/projects\/([^/?#]*)([^]*)$/.exec(target) ?? []
  const project = ProjectId.parse(id)
  if (project === undefined) return noProject
  const prefix = `${projects}${id}`
  if (rest.startsWith("/")) return toProject(project, rest, prefix)
  // Relative links of the page would miss the id.
  const loads = (method === "GET" || method === "HEAD") && !upgrade
  return loads ? { _tag: "Redirect", location: `${prefix}/${rest}` } : toProject(project, `/${rest}`, prefix)
}

/** `domain`: lower case. */
export const route = (input: RouteInput, domain: string): Routed => {
  // Absolute form is for proxies of other sites, `*` and an authority alone for nobody: and each of them is read
  // differently by different servers.
  if (!input.target.startsWith("/")) return refused(400, "The request target must be a path.")
  if (input.host === null) return byPath(input)
  const name = hostName(input.host)
  if (name === null) return refused(400, "The Host header names no host.")
  if (name === domain || name === "localhost" || isIP(name) !== 0) return byPath(input)
  if (name.endsWith(`.${domain}`)) {
    const project = ProjectId.parse(name.slice(0, -domain.length - 1))
    if (project !== undefined) return onHost(project, input)
  }
  return { _tag: "Lookup", host: name }
}

/** The route of a looked up host, which belongs to no project if `project` is undefined. */
export const lookedUp = (
  project: ProjectId.ProjectId | undefined,
  host: string,
  input: RouteInput,
  domain: string
): Route => {
  if (project !== undefined) return onHost(project, input)
  return host.endsWith(`.${domain}`) ? noProject : byPath(input)
}
