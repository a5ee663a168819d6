/** Who sent the request that is being answered. Where nobody says so, somebody who is trusted with nothing. */
import * as Context from "effect/Context"
import type { IncomingMessage } from "node:http"
import type { Caller } from "../Caller.ts"

export const CurrentCaller = Context.Reference<Caller>("valet/CurrentCaller", {
  defaultValue: () => ({ address: "unknown", local: false, proto: "http", host: null })
})

const bare = (address: string | undefined): string => (address ?? "").replace(/%.*$/, "").replace(/^::ffff:(?=\d)/i, "")

const ofProxies = new Set(["forwarded", "via", "x-real-ip", "fly-client-ip", "cf-connecting-ip", "true-client-ip"])

const isForwarded = (request: IncomingMessage): boolean =>
  Object.keys(request.headers).some((name) => name.startsWith("x-forwarded-") || ofProxies.has(name))

/**
 * Sent by a process of this machine for itself: over loopback or from the very address that it was sent to, and not on
 * behalf of somebody else, as a proxy's or a browser page's request is.
 */
export const isFromThisMachine = (request: IncomingMessage): boolean => {
  const peer = bare(request.socket.remoteAddress)
  const isOwn = peer === "::1" || peer.startsWith("127.") || peer === bare(request.socket.localAddress)
  return peer !== "" && isOwn && !isForwarded(request) && request.headers.origin === undefined
}
