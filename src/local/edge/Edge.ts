/**
 * What Fly's proxy is to a hosted plane, on one loopback port: every request goes to a live instance of the router app
 * first, and wherever its `fly-replay` answers say from there. For development, tests and chaos runs.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as http from "node:http"
import type { LocalMachines } from "../fly/LocalMachines.ts"
import * as ClientSide from "./ClientSide.ts"
import * as Exchange from "./Exchange.ts"
import * as Listener from "../../proxy/Listener.ts"
import * as Reach from "./Reach.ts"
import * as RequestBody from "./RequestBody.ts"

export type { ControlPlane } from "./Reach.ts"

export interface EdgeOptions {
  /** 0, the default, takes a free port. */
  readonly port?: number
  readonly host?: string
  /** Name of the app that is asked first. */
  readonly routerApp: string
  /** Its live instances, read for each request. */
  readonly planes: Effect.Effect<ReadonlyArray<Reach.ControlPlane>>
  /** Names of the apps to which a request can be replayed; one with machines exists without being named. */
  readonly apps: ReadonlyArray<string>
  readonly region?: string
  /** Larger bodies pass, but can't be replayed. Fly: "requests larger than 1MB cannot be replayed". */
  readonly replayLimitBytes?: number
  /** For requests that run when the scope ends; upgraded connections end at once. */
  readonly drainGrace?: Duration.Input
}

const peer = (address: string | undefined) => (address ?? "").replace(/^::ffff:(?=\d)/, "")

export class Edge extends Context.Service<
  Edge,
  {
    readonly url: string
    readonly port: number
    /** Cuts each open client connection with this probability (0–1); answers how many. */
    drop(share: number): Effect.Effect<number>
  }
>()("valet/Edge") {
  static readonly layer = (
    options: EdgeOptions
  ): Layer.Layer<Edge, Listener.ListenError, LocalMachines | SecureRandom.SecureRandom> =>
    Layer.effect(
      Edge,
      Effect.gen(function* () {
        const random = yield* SecureRandom.SecureRandom
        const { host = "127.0.0.1", port = 0, region = "local", replayLimitBytes = 1024 * 1024, routerApp } = options
        const reach = yield* Reach.make({ routerApp, planes: options.planes, apps: options.apps, region })
        const agent = yield* Effect.acquireRelease(
          Effect.sync(() => new http.Agent({ keepAlive: true })),
          (agent) => Effect.sync(() => agent.destroy())
        )

        const handle = (incoming: Listener.Incoming) =>
          Effect.gen(function* () {
            const { request, response, socket, takeOver } = incoming
            const { port } = listener
            const requestId = `${yield* random.ulid}-${region}`
            const client = ClientSide.make({
              request,
              response,
              upgrade:
                response === undefined ? { protocol: request.headers.upgrade ?? "", socket, takeOver } : undefined,
              seen: { address: peer(socket.remoteAddress), edgeAddress: peer(socket.localAddress), port, region },
              requestId,
              expectsContinue: incoming.expectsContinue,
              closing: listener.closing
            })
            const body = RequestBody.make(request, replayLimitBytes)
            yield* Exchange.run({ routerApp, region, reach, agent }, client, body).pipe(
              Effect.catchTag("Unreached", ({ error }) => Effect.fail(error)),
              Effect.catchTag("EdgeError", (error) =>
                Effect.logDebug(error.message).pipe(Effect.andThen(Effect.sync(() => client.refuse(error))))
              ),
              Effect.ensuring(Effect.sync(body.discard))
            )
          })
        const grace = options.drainGrace ?? "5 seconds"
        const listener: Listener.Listener = yield* Listener.listen({ host, port, grace, upgrades: true, handle })

        const drop = (share: number) =>
          Effect.gen(function* () {
            let dropped = 0
            for (const socket of listener.sockets) {
              if ((yield* Random.next) >= share) continue
              socket.destroy()
              dropped += 1
            }
            return dropped
          })
        return Edge.of({ url: `http://${host}:${listener.port}`, port: listener.port, drop })
      })
    )
}
