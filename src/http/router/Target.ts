/**
 * Whom a request is for, from its method, target and Host alone. Total: whatever a client sends has an answer.
 *
 * In this order: `/health`, OPTIONS, `/internal/*` (404 on every host), then by Host: one label under the router's
 * domain is that project, more labels are refused, anything else is the bare host, where `/projects/<id>/…` is a project
 * and the rest is the plane's own.
 */
import * as ProjectId from "../../domain/ProjectId.ts"

export type Target =
  | { readonly _tag: "Health" }
  | { readonly _tag: "Preflight" }
  /** The target or Host can't be served by anybody. */
  | { readonly _tag: "Refused"; readonly status: 400 | 404; readonly detail: string }
  /** `path`: as the project's server sees it, without `/projects/<id>` and query. */
  | { readonly _tag: "Project"; readonly projectId: ProjectId.ProjectId; readonly path: string }
  /** A label or path that can't be or is no longer allowed to be a project id. */
  | { readonly _tag: "NoProject" }
  | { readonly _tag: "Plane"; readonly path: string }

export type HostKind =
  | { readonly _tag: "Bare" }
  | { readonly _tag: "Label"; readonly label: string }
  | { readonly _tag: "Bad" }

const bare: HostKind = { _tag: "Bare" }
const bad: HostKind = { _tag: "Bad" }

/** A domain name has at most 253 characters (RFC 1035), a final dot and `:65535` come on top. */
const maxHostLength = 253 + 1 + 6

export const normalDomain = (domain: string): string => domain.toLowerCase().replace(/^\.+|\.+$/g, "")

/** `domain`: as `normalDomain` gives it; null: no project has a host of its own. */
export const hostKind = (host: string | undefined, domain: string | null): HostKind => {
  if (host === undefined || host === "") return bare
  if (host.length > maxHostLength || host.includes("@")) return bad
  if (host.startsWith("[")) return bare
  const colon = host.lastIndexOf(":")
  let name = colon === -1 ? host : host.slice(0, colon)
  if (name.endsWith(".")) name = name.slice(0, -1)
  name = name.toLowerCase()
  if (domain === null || !name.endsWith(`.${domain}`)) return bare
  const label = name.slice(0, -domain.length - 1)
  return label === "" || label.includes(".") ? bad : { _tag: "Label", label }
}

/** The path without query; a target in absolute form also names the host (RFC 9112 3.2.2: it wins over Host). */
const split = (target: string): { readonly path: string; readonly authority: string | undefined } => {
  const absolute = /^https?:\/\/([^/?#]*)/i.exec(target)
  const rest = absolute === null ? target : target.slice(absolute[0].length)
  const end = rest.search(/[?#]/)
  const path = end === -1 ? rest : rest.slice(0, end)
  return { path: path === "" ? "/" : path, authority: absolute?.[1] }
}

const decodeOnce = (path: string): string =>
  path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))

/** Nobody encodes a path more often than this in good faith. */
const maxDecodings = 4

/** Up to where some server ends a name: a path parameter, a query or fragment once decoded, a C string. */
// oxlint-disable-next-line no-control-regex -- control characters are what is cut
const nameOf = (segment: string): string => segment.replace(/[;?#\0][^]*$/, "").replace(/[\0-\x20]/g, "")

const segmentsOf = (path: string): ReadonlyArray<string> =>
  path
    .replaceAll("\\", "/")
    .split("/")
    .map((segment) => nameOf(segment).trim().toLowerCase())
    .filter((segment) => segment !== "")

const resolveDots = (segments: ReadonlyArray<string>): ReadonlyArray<string> => {
  const out: Array<string> = []
  for (const segment of segments) {
    if (segment === "..") out.pop()
    else if (segment !== ".") out.push(segment)
  }
  return out
}

const namesInternal = (segments: ReadonlyArray<string>): boolean =>
  segments[0] === "internal" || (segments[0] === "projects" && segments[2] === "internal")

/**
 * Whether any server behind this router could take the path for `/internal/…` or `/projects/<id>/internal/…`, however
 * often it decodes, whether or not it resolves dots, merges slashes, ignores case or cuts path parameters.
 */
export const isInternal = (path: string): boolean => {
  let current = path
  for (let round = 0; round <= maxDecodings; round++) {
    const segments = segmentsOf(current)
    if (namesInternal(segments) || namesInternal(segments.filter((segment) => segment !== "."))) return true
    if (namesInternal(resolveDots(segments))) return true
    const decoded = decodeOnce(current)
    if (decoded === current) return false
    current = decoded
  }
  return true
}

/** What is left of a path after one decoding and its dots: what most servers take it for. */
const resolved = (path: string): ReadonlyArray<string> =>
  resolveDots(
    decodeOnce(path)
      .replaceAll("\\", "/")
      .split("/")
      .filter((segment) => segment !== "")
  )

const prefix = "/projects/"

const byPath = (path: string): Target => {
  if (!path.startsWith(prefix)) return { _tag: "Plane", path }
  const slash = path.indexOf("/", prefix.length)
  const id = slash === -1 ? path.slice(prefix.length) : path.slice(prefix.length, slash)
  if (id === "") return { _tag: "Plane", path }
  const projectId = ProjectId.parse(id)
  if (projectId === undefined) return { _tag: "NoProject" }
  const segments = resolved(path)
  if (segments[0] !== "projects" || segments[1] !== id) {
    return { _tag: "Refused", status: 400, detail: "The path leaves the project that it names." }
  }
  return { _tag: "Project", projectId, path: slash === -1 ? "/" : path.slice(slash) }
}

export const parse = (input: {
  readonly method: string
  /** The request target as received. */
  readonly target: string
  /** Every Host header of the request. */
  readonly hosts: ReadonlyArray<string>
  readonly domain: string | null
}): Target => {
  const { path, authority } = split(input.target)
  if (path === "/health") return { _tag: "Health" }
  if (input.method === "OPTIONS") return { _tag: "Preflight" }
  if (isInternal(path)) return { _tag: "Refused", status: 404, detail: "Nothing is served here." }
  if (!path.startsWith("/")) return { _tag: "Refused", status: 400, detail: "The request target is not a path." }
  if (authority === undefined && input.hosts.length > 1) {
    return { _tag: "Refused", status: 400, detail: "The request has more than one Host." }
  }
  const host = hostKind(authority ?? input.hosts[0], input.domain)
  switch (host._tag) {
    case "Bad":
      return { _tag: "Refused", status: 400, detail: "The host is not one label under the router's domain." }
    case "Bare":
      return byPath(path)
    case "Label": {
      const projectId = ProjectId.parse(host.label)
      return projectId === undefined ? { _tag: "NoProject" } : { _tag: "Project", projectId, path }
    }
  }
}
