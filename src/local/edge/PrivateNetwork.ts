/**
 * The local 6PN: `http://127.0.0.1:<port>/<machine id>/<path>` reaches the machine's own server as `.internal` names do
 * on Fly, past the proxy. Only a started machine is reached and none is started; where Fly's name would not resolve or
 * the connection be refused, the connection is closed without an answer.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { IncomingMessage, ServerResponse } from "node:http"
import { LocalMachines } from "../fly/LocalMachines.ts"
import * as Headers from "../../proxy/Headers.ts"
import * as Listener from "../../proxy/Listener.ts"
import { relay } from "../../proxy/Relay.ts"
import * as RequestBody from "./RequestBody.ts"
import * as Upstream from "../../proxy/Upstream.ts"

export interface PrivateNetworkOptions {
  /** 0, the default, takes a free port. */
  readonly port?: number
  /** For calls that still run when the scope ends. */
  readonly drainGrace?: Duration.Input
}

class Unresolved extends Schema.TaggedError<Unresolved>()("Unresolved", { machineId: Schema.String }) {}

const host = "127.0.0.1"

export class PrivateNetwork extends Context.Service<
  PrivateNetwork,
  {
    readonly port: number
    /** The plane's VALET_MACHINE_URL, with `{machine_id}` in it. */
    readonly urlTemplate: string
  }
>()("valet/PrivateNetwork") {
  static readonly layer = (
    options: PrivateNetworkOptions = {}
  ): Layer.Layer<PrivateNetwork, Listener.ListenError, LocalMachines> =>
    Layer.effect(
      PrivateNetwork,
      Effect.gen(function* () {
        const machines = yield* LocalMachines

        const pass = (request: IncomingMessage, to: ServerResponse) =>
          Effect.gen(function* () {
            const [, machineId = "", path = ""] = /^\/([^/?]*)(.*)$/.exec(request.url ?? "") ?? []
            const machine = yield* machines.find(machineId)
            if (machine === null || machine.state !== "started" || machine.port === null) {
              return yield* new Unresolved({ machineId })
            }
            const body = RequestBody.make(request, 0)
            const connection = yield* Upstream.connect(
              {
                host,
                port: machine.port,
                method: request.method ?? "GET",
                path: path.startsWith("/") ? path : `/${path}`,
                headers: [
                  ...Headers.endToEnd(request.rawHeaders),
                  ...Headers.values(request.rawHeaders, "transfer-encoding").flatMap((te) => ["Transfer-Encoding", te])
                ],
                upgrade: false
              },
              false
            )
            yield* Effect.addFinalizer(() => Effect.sync(body.discard))
            body.sendTo(connection.request)
            const reply = yield* connection.answer
            if (reply._tag !== "Response") return yield* new Unresolved({ machineId })
            const { rawHeaders, statusCode = 502, statusMessage = "" } = reply.response
            to.writeHead(statusCode, statusMessage, Headers.endToEnd(rawHeaders))
            yield* relay(reply.response, to)
          }).pipe(Effect.scoped)

        const listener = yield* Listener.listen({
          host,
          port: options.port ?? 0,
          grace: options.drainGrace ?? "5 seconds",
          upgrades: false,
          handle: ({ expectsContinue, request, response, socket }) =>
            Effect.suspend(() => {
              if (response === undefined) return Effect.sync(() => socket.destroy())
              if (expectsContinue) response.writeContinue()
              return pass(request, response)
            }).pipe(
              Effect.catch((error) =>
                Effect.logDebug(`private network: ${request.url}: ${error._tag}`).pipe(
                  Effect.andThen(Effect.sync(() => socket.destroy()))
                )
              )
            )
        })
        const { port } = listener
        return PrivateNetwork.of({ port, urlTemplate: `http://${host}:${port}/{machine_id}` })
      })
    )
}
