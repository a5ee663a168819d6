/** What the edge changes in the headers of requests and answers, as Fly's proxy does. */
import { endToEnd, filter, values, type Flat } from "../../proxy/Headers.ts"
import type { Transform } from "./Replay.ts"

/** A client's request without anything that only the edge may say. The control of the replay cache is the client's. */
export const fromClient = (flat: Flat): Array<string> =>
  filter(
    endToEnd(flat),
    (name) => (!name.startsWith("fly-") || name === "fly-replay-cache-control") && name !== "expect"
  )

/** An answer without the instructions to the edge. */
export const fromTarget = (flat: Flat): Array<string> =>
  filter(endToEnd(flat), (name) => !name.startsWith("fly-replay") && name !== "fly-request-id")

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
