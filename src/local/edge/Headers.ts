/**
 * Headers as they stand on the wire: a flat list of names and values in their order, case and number, so that what the
 * edge does not have to change arrives as it was sent.
 */
import type { Transform } from "./Replay.ts"

/** name, value, name, value, … as Node's `rawHeaders`. */
export type Flat = ReadonlyArray<string>

/** Belong to one connection, not to the message (RFC 9110 section 7.6.1). `trailer` describes the message and stays. */
const hopByHop = new Set(["connection", "keep-alive", "proxy-connection", "te", "upgrade", "transfer-encoding"])
/** Say where the message ends or for whom it is: naming them in `Connection` must not remove them. */
const essential = new Set(["content-length", "host"])

const filter = (flat: Flat, keep: (name: string) => boolean): Array<string> => {
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

/** Without what belongs to the connection that it came on. */
export const endToEnd = (flat: Flat): Array<string> => {
  const named = new Set(
    values(flat, "connection").flatMap((value) => value.split(",").map((name) => name.trim().toLowerCase()))
  )
  return filter(flat, (name) => !hopByHop.has(name) && (essential.has(name) || !named.has(name)))
}

/** A client's request without anything that only the edge may say. The control of the replay cache is the client's. */
export const fromClient = (flat: Flat): Array<string> =>
  filter(
    endToEnd(flat),
    (name) => (!name.startsWith("fly-") || name === "fly-replay-cache-control") && name !== "expect"
  )

/** An answer without the instructions to the edge. */
export const fromTarget = (flat: Flat): Array<string> =>
  filter(endToEnd(flat), (name) => !name.startsWith("fly-replay") && name !== "fly-request-id")

/** Trailers as Node takes them; the edge's own names may not be smuggled in behind the body. */
export const trailers = (flat: Flat): ReadonlyArray<[string, string]> => {
  const pairs: Array<[string, string]> = []
  const kept = filter(endToEnd(flat), (name) => !name.startsWith("fly-") && !essential.has(name))
  for (let at = 0; at + 1 < kept.length; at += 2) pairs.push([kept[at] ?? "", kept[at + 1] ?? ""])
  return pairs
}

export const transformed = (flat: Flat, transform: Transform): Flat => {
  const replaced = new Set([...transform.deleteHeaders, ...transform.setHeaders.map(({ name }) => name.toLowerCase())])
  return [
    ...filter(flat, (name) => !replaced.has(name)),
    ...transform.setHeaders.flatMap(({ name, value }) => [name, value])
  ]
}

export interface Client {
  /** The peer, as the edge sees it. */
  readonly address: string
  /** The edge's own address, which Fly's proxy leaves at the right end of X-Forwarded-For. */
  readonly edgeAddress: string
  readonly port: number
  readonly region: string
}

const list = (flat: Flat, name: string, ...more: ReadonlyArray<string>) => [...values(flat, name), ...more].join(", ")
const written = new Set(["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-ssl", "via"])

/** What Fly's proxy tells a target of the client (Fly's page "Request headers"). */
export const forwarded = (flat: Flat, client: Client): Array<string> => [
  ...filter(flat, (name) => !written.has(name)),
  "Fly-Client-IP",
  client.address,
  "X-Forwarded-For",
  list(flat, "x-forwarded-for", client.address, client.edgeAddress),
  "X-Forwarded-Proto",
  "http",
  "X-Forwarded-Port",
  String(client.port),
  "X-Forwarded-SSL",
  "off",
  "Fly-Forwarded-Port",
  String(client.port),
  "Fly-Region",
  client.region,
  "Via",
  list(flat, "via", via)
]

/** As Fly's proxy names itself, in both directions. */
export const via = "1.1 fly.io"
