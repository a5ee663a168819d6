/** What a project's server gets to see of a request's headers. */
import { endToEnd, saysProxy, values, type Flat } from "../../proxy/Headers.ts"
import type { Caller } from "../Caller.ts"

/** Of which Node expects no body. */
const bodyless = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"])
const written = new Set(["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"])

export interface RequestHeadersInput {
  readonly method: string
  readonly headers: Flat
  readonly caller: Caller
  /** The peer of the connection. */
  readonly peer: string
  /** The peer is a proxy whose own headers count. */
  readonly peerTrusted: boolean
  /** Taken off the path; null where none was. */
  readonly prefix: string | null
  /** The protocol asked for. */
  readonly upgrade: string | undefined
}

/** The port in a host as the client addressed it. */
const portOf = ({ host, proto }: Caller) => /:(\d+)$/.exec(host ?? "")?.[1] ?? (proto === "https" ? "443" : "80")

export const toServer = (input: RequestHeadersInput): Array<string> => {
  const { caller, headers, method, peer, peerTrusted, prefix, upgrade } = input
  const chain = peerTrusted ? values(headers, "x-forwarded-for") : []
  const flat = endToEnd(headers, (name) => {
    // What `Proxy` says a CGI program would take for its HTTP_PROXY.
    if (name === "proxy" || name === "http2-settings") return true
    if (!saysProxy(name)) return false
    return !peerTrusted || name.includes("_") || written.has(name) || (name === "x-forwarded-prefix" && prefix !== null)
  })
  flat.push("X-Forwarded-For", [...chain, peer].join(", "), "X-Real-IP", caller.address)
  flat.push("X-Forwarded-Proto", caller.proto, "X-Forwarded-Port", portOf(caller))
  if (caller.host !== null) flat.push("X-Forwarded-Host", caller.host)
  if (prefix !== null) flat.push("X-Forwarded-Prefix", prefix)
  if (upgrade !== undefined) {
    flat.push("Connection", "Upgrade", "Upgrade", upgrade)
    return flat
  }
  if (values(headers, "transfer-encoding").length > 0) flat.push("Transfer-Encoding", "chunked")
  // A body whose end nothing tells is none: Node would have it chunked.
  else if (!bodyless.has(method) && values(headers, "content-length").length === 0) flat.push("Content-Length", "0")
  return flat
}
