/** Hostile requests as exact bytes, to a child that records all that reaches it. */
import * as Effect from "effect/Effect"
import { recordingChild } from "./Child.ts"
import { hostOn, pathOn, Subject } from "./Subject.ts"
import { dial } from "./Wire.ts"

export interface Names {
  /** Of the child's project, as a subdomain and as a path. */
  readonly host: string
  readonly path: string
}

/** What hides in, or stands behind, a hostile request. */
export const hidden = ({ host }: Names): string => `GET /smuggled HTTP/1.1\r\nHost: ${host}\r\n\r\n`

export const post = ({ host }: Names, headers: string, body: string): string =>
  `POST / HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n\r\n${body}`

export const get = ({ host }: Names, headers: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n\r\n`

/** Sends it on a connection of its own to a child of its own. */
export const attack = (bytes: (names: Names) => string) =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const child = yield* recordingChild
    const names = { host: hostOn(child.port), path: pathOn(child.port) }
    const client = yield* dial(port)
    client.send(bytes(names))
    return { child, client, names }
  })
