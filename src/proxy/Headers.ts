/**
 * Headers as they stand on the wire: a flat list of names and values in their order, case and number, so that what a
 * proxy does not have to change arrives as it was sent.
 */

/** name, value, name, value, … as Node's `rawHeaders`. */
export type Flat = ReadonlyArray<string>

/** Belong to one connection, not to the message (RFC 9110 section 7.6.1). `trailer` describes the message and stays. */
const hopByHop = new Set(["connection", "keep-alive", "proxy-connection", "te", "upgrade", "transfer-encoding"])
/** Say where the message ends or for whom it is: naming them in `Connection` must not remove them. */
const essential = new Set(["content-length", "host"])

/** `keep` sees names in lower case. */
export const filter = (flat: Flat, keep: (name: string) => boolean): Array<string> => {
  const kept: Array<string> = []
  for (let at = 0; at + 1 < flat.length; at += 2) {
    const name = flat[at] ?? ""
    if (keep(name.toLowerCase())) kept.push(name, flat[at + 1] ?? "")
  }
  return kept
}

/** Every value of a header. */
export const values = (flat: Flat, name: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (let at = 0; at + 1 < flat.length; at += 2) {
    if (flat[at]?.toLowerCase() === name) found.push(flat[at + 1] ?? "")
  }
  return found
}

/** Without what belongs to the connection that it came on, and what else `drops`, which sees names in lower case. */
export const endToEnd = (flat: Flat, drops?: (name: string) => boolean): Array<string> => {
  const named = new Set(
    values(flat, "connection").flatMap((value) => value.split(",").map((name) => name.trim().toLowerCase()))
  )
  return filter(
    flat,
    (name) => !hopByHop.has(name) && (essential.has(name) || !named.has(name)) && (drops === undefined || !drops(name))
  )
}

/** Only a proxy says these. A server that turns headers into variables takes `_` for `-`. */
export const saysProxy = (name: string): boolean => {
  // All of them begin with an x or an f.
  if (name[0] !== "x" && name[0] !== "f") return false
  const dashed = name.replaceAll("_", "-")
  return (
    dashed.startsWith("x-forwarded-") || dashed === "forwarded" || dashed === "x-real-ip" || dashed.startsWith("fly-")
  )
}

/** Trailers as Node takes them; what only a proxy in front may say can't be smuggled in behind the body. */
export const trailers = (flat: Flat): ReadonlyArray<[string, string]> => {
  const pairs: Array<[string, string]> = []
  const kept = filter(endToEnd(flat), (name) => !saysProxy(name) && !essential.has(name))
  for (let at = 0; at + 1 < kept.length; at += 2) pairs.push([kept[at] ?? "", kept[at + 1] ?? ""])
  return pairs
}
