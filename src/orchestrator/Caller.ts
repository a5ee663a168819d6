/** Who sent a request, as far as that can be believed. */
import * as Result from "effect/Result"
import { BlockList, isIP } from "node:net"
import { saysProxy, values, type Flat } from "../proxy/Headers.ts"

export interface Caller {
  /** Of the client: the peer, or what a trusted proxy says of it. Without an IPv6 zone or `::ffff:`. */
  readonly address: string
  /**
   * Sent on this machine to this machine: a loopback listener, a loopback peer, a loopback Host, no header of a proxy and
   * no Origin of another site. Reads need no token then.
   */
  readonly local: boolean
  readonly proto: "http" | "https"
  /** As the client addressed it, with its port. */
  readonly host: string | null
}

/** Proxies in front whose word is taken. */
export type Trusted = (address: string) => boolean

export const bareAddress = (address: string | undefined): string =>
  (address ?? "").replace(/%.*$/, "").replace(/^::ffff:(?=\d+\.)/i, "")

const familyOf = (address: string) => (isIP(address) === 6 ? "ipv6" : "ipv4")

/** Addresses and CIDR ranges; the failure names the one that is neither. */
export const trusted = (ranges: ReadonlyArray<string>): Result.Result<Trusted, string> => {
  if (ranges.length === 0) return Result.succeed(() => false)
  const list = new BlockList()
  for (const range of ranges) {
    const [address = "", bits, ...more] = range.trim().split("/")
    const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
    const prefix = bits === undefined ? longest : /^\d{1,3}$/.test(bits) ? Number(bits) : -1
    if (longest === -1 || prefix < 0 || prefix > longest || more.length > 0) {
      return Result.fail(`${JSON.stringify(range)} is neither an address nor a range such as 10.0.0.0/8`)
    }
    list.addSubnet(address, prefix, familyOf(address))
  }
  return Result.succeed((address) => isIP(address) !== 0 && list.check(address, familyOf(address)))
}

const loopback = new BlockList()
loopback.addSubnet("127.0.0.0", 8)
loopback.addAddress("::1", "ipv6")
export const isLoopback = (address: string): boolean =>
  // What nearly every address of this machine is costs no search.
  address === "127.0.0.1" || address === "::1" || (isIP(address) !== 0 && loopback.check(address, familyOf(address)))

/** Lower case, without port, brackets and the root's dot; null for what is no host. */
export const hostName = (host: string): string | null => {
  const [, bracketed, name] =
    /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9_-][a-z0-9._-]{0,253}))(?::\d{1,5})?$/i.exec(host) ?? []
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? bracketed.toLowerCase() : null
  return name === undefined ? null : name.toLowerCase().replace(/\.$/, "")
}

const isLoopbackHost = (host: string | null): boolean => {
  const name = host === null ? null : hostName(host)
  return name !== null && (name === "localhost" || name.endsWith(".localhost") || isLoopback(name))
}

/** The rightmost entry was added last, by the proxy that is believed. */
const last = (flat: Flat, name: string): string | undefined => values(flat, name).join(",").split(",").pop()?.trim()

/** An entry may carry a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
const entryAddress = (entry: string): string => {
  const [, inside, dotted] = /^(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)$/.exec(entry) ?? []
  return bareAddress(inside ?? dotted ?? entry)
}

/** The last that is no proxy of ours; an entry that is no address ends the search, and who wrote it counts. */
const behind = (peer: string, flat: Flat, isTrusted: Trusted): string => {
  let client = peer
  const entries = values(flat, "x-forwarded-for").join(",").split(",")
  for (const entry of entries.toReversed()) {
    if (!isTrusted(client)) return client
    const address = entryAddress(entry.trim())
    if (isIP(address) === 0) return client
    client = address
  }
  return client
}

export interface CallerInput {
  readonly peer: string | undefined
  readonly headers: Flat
  /** The listener's own address is a loopback one. */
  readonly loopbackOnly: boolean
  readonly trusted: Trusted
}

export const callerOf = ({ headers, loopbackOnly, peer, trusted }: CallerInput): Caller => {
  const peerAddress = bareAddress(peer)
  const host = values(headers, "host")[0] ?? null
  const local = isLocal(peerAddress, host, headers, loopbackOnly)
  if (!trusted(peerAddress)) return { address: peerAddress, local, proto: "http", host }
  const proto = last(headers, "x-forwarded-proto")?.toLowerCase()
  return {
    address: behind(peerAddress, headers, trusted),
    local,
    proto: proto === "https" || proto === "wss" ? "https" : "http",
    host: last(headers, "x-forwarded-host") || host
  }
}

const isLocal = (peer: string, host: string | null, headers: Flat, loopbackOnly: boolean): boolean => {
  if (!loopbackOnly || !isLoopback(peer) || !isLoopbackHost(host)) return false
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = (headers[at] ?? "").toLowerCase()
    if (name === "via" || saysProxy(name)) return false
    if (name === "origin" && headers[at + 1]?.toLowerCase() !== `http://${host?.toLowerCase()}`) return false
  }
  return true
}
