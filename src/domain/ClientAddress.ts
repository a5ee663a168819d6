/**
 * Who a request counts against. On Fly the proxy says so in `Fly-Client-IP`, which it overwrites; anywhere else that
 * header is the client's own invention, and the peer of the socket counts. One IPv6 client has a whole /64.
 */
import { isIP, isIPv6 } from "node:net"

/** The eight groups of an address that `isIPv6` accepts. */
const groupsOf = (address: string): ReadonlyArray<number> => {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const [, head = "", a = "0", b = "0", c = "0", d = "0"] = dotted ?? []
  const plain =
    dotted === null
      ? address
      : `${head}${((Number(a) << 8) | Number(b)).toString(16)}:${((Number(c) << 8) | Number(d)).toString(16)}`
  const [left = "", right] = plain.split("::")
  const parse = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)))
  const before = parse(left)
  if (right === undefined) return before
  const after = parse(right)
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after]
}

/** An IPv4 address, `<four groups>::/64`, or `unknown`: one bucket for all whose address can't be told. */
export const clientOf = (address: string | undefined): string => {
  const bare = (address ?? "").trim().replace(/%.*$/, "")
  if (isIP(bare) === 0) return "unknown"
  if (!isIPv6(bare)) return bare
  const groups = groupsOf(bare)
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  if (isMapped) {
    const [high = 0, low = 0] = groups.slice(6)
    return [high >> 8, high & 255, low >> 8, low & 255].join(".")
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":")}::/64`
}

export const clientAddress = (input: {
  readonly onFly: boolean
  readonly flyClientIp: string | undefined
  readonly peer: string | undefined
}): string => clientOf(input.onFly ? (input.flyClientIp ?? input.peer) : input.peer)

/** Loopback, RFC 1918, link-local and unique local addresses (Fly's 6PN is fdaa::/16). */
export const isPrivate = (address: string | undefined): boolean => {
  const bare = (address ?? "").replace(/%.*$/, "")
  if (isIP(bare) === 0) return false
  if (isIPv6(bare)) {
    const mapped = clientOf(bare)
    if (!mapped.includes(":")) return isPrivate(mapped)
    const groups = groupsOf(bare)
    const [first = 0] = groups
    return (first & 0xfe00) === 0xfc00 || (first & 0xffc0) === 0xfe80 || groups.join(":") === "0:0:0:0:0:0:0:1"
  }
  return /^(?:127\.|10\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\.)/.test(bare)
}
