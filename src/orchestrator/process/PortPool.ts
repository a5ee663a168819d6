/**
 * Ports for servers that are about to listen, each given to one at a time.
 *
 * Below the range from which the system takes the near end of outgoing connections: each proxied request opens one, and
 * could else take a port between its choice and the server's listen.
 */
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { freePort } from "../../process/Ports.ts"

const lowest = 20_000
/** Where the system does not tell its range, the lower end of Linux'. */
const usualEnd = 32_768
/** So many at least, else any free port has to do. */
const enough = 1_000
const attempts = 200

const isFree = (port: number): Effect.Effect<boolean> =>
  NodeSocketServer.make({ port, host: "127.0.0.1" }).pipe(
    Effect.as(true),
    Effect.scoped,
    Effect.orElseSucceed(() => false)
  )

export const make = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const range = yield* Effect.orElseSucceed(fs.readFileString("/proc/sys/net/ipv4/ip_local_port_range"), () => "")
  const end = Number(/^\d+/.exec(range)?.[0] ?? usualEnd)
  const taken = new Set<number>()

  const candidate = end - lowest < enough ? Effect.orDie(freePort) : Random.nextIntBetween(lowest, end - 1)
  const choose = Effect.gen(function* () {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const port = yield* candidate
      if (taken.has(port)) continue
      taken.add(port)
      if (yield* isFree(port)) return port
      taken.delete(port)
    }
    return undefined
  })
  /** Nobody else's until the scope closes; undefined where none is found. */
  const take: Effect.Effect<number | undefined, never, Scope.Scope> = Effect.acquireRelease(choose, (port) =>
    Effect.sync(() => port !== undefined && taken.delete(port))
  )
  return { take }
})

export type PortPool = Effect.Success<typeof make>
