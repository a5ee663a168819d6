/** Which project a request is meant for, by its path or its Host. Pure. */

export interface Address {
  /** Null: the request names none (a bare path on an IP address or a single-label host). */
  readonly project: string | null
  /** Behind `/projects/<id>`, still percent-encoded, without the query. */
  readonly path: string
  readonly query: string
  /** `/projects/<id>` without a slash behind it: relative links would miss the id. */
  readonly bare: boolean
}

const inPath = /^\/projects\/([^/]+)(\/.*)?$/
const ipAddress = /^(\[.*\]|\d+\.\d+\.\d+\.\d+)$/

/** `demo.example.com:443` → `demo`; null for an IP address, a single label or nothing. */
export const labelOf = (host: string | undefined): string | null => {
  const name = host?.replace(/:\d+$/, "").toLowerCase() ?? ""
  if (ipAddress.test(name)) return null
  const [first = "", ...rest] = name.split(".")
  return rest.length === 0 ? null : first
}

/**
 * Undefined for a target that is not a path. A Host that names `ours` is this project's whatever the path: the router
 * goes by Host first, and would send the request here again.
 */
export const addressOf = (
  target: string | undefined,
  host: string | undefined,
  ours: string | null
): Address | undefined => {
  if (target === undefined || !target.startsWith("/")) return undefined
  const mark = target.indexOf("?")
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? "" : target.slice(mark + 1)
  const label = labelOf(host)
  const match = inPath.exec(path)
  const project = match?.[1]
  return project === undefined || (project !== ours && label !== null && label === ours)
    ? { project: label, path, query, bare: false }
    : { project, path: match?.[2] ?? "/", query, bare: match?.[2] === undefined }
}
