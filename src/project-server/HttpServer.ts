/**
 * The listener: raw `node:http`, because it is started for every project and every message passes it. First what belongs
 * to the machine (health, the protocol), then whether this server may answer at all, then the documents.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { Duplex } from "node:stream"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { closeCodes } from "../contract/Documents.ts"
import type * as Protocol from "../contract/MachineProtocol.ts"
import { addressOf, type Address } from "./Address.ts"
import * as Answer from "./Answer.ts"
import { Connections } from "./Connections.ts"
import type { Control } from "./Control.ts"
import * as Disk from "./Disk.ts"
import * as DocumentRoutes from "./DocumentRoutes.ts"
import type { DocumentStore } from "./DocumentStore.ts"
import { Gate } from "./Gate.ts"
import * as InternalRoutes from "./InternalRoutes.ts"
import { page } from "./Page.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import { Serving } from "./Serving.ts"
import { StateFile } from "./StateFile.ts"
import { TransferRoutes } from "./TransferRoutes.ts"

export class ListenError extends Schema.TaggedError<ListenError>()("ListenError", {
  port: Schema.Int,
  code: Schema.String
}) {
  override get message() {
    return `can't listen on port ${this.port} (${this.code})`
  }
}

/** For requests in flight when the server stops. */
const drainWithin = "5 seconds"
/** Sockets of any kind; the health check needs one too, so more than the WebSockets. */
const maxSockets = 8192
/** An import may be a gigabyte over a slow line. */
const requestTimeout = 15 * 60_000

type Routes = Control | DocumentStore | ProjectServerConfig | StateFile | TransferRoutes

export class HttpServer extends Context.Service<HttpServer, { readonly port: number }>()("valet/ProjectHttpServer") {
  static readonly layer = Layer.effect(
    HttpServer,
    Effect.gen(function* () {
      const { comparesAddress, host, port } = yield* ProjectServerConfig
      const gate = yield* Gate
      const serving = yield* Serving
      const connections = yield* Connections
      const transfers = yield* TransferRoutes
      const file = yield* StateFile
      const run = Effect.runForkWith(yield* Effect.context<Routes>())

      const health = (): Answer.Answer => {
        const state = file.current()
        const body: Protocol.Health = {
          status: "ok",
          project_id: serving.projectId(),
          generation: state.newest_generation,
          connections: gate.connections(),
          sealed: state.sealed
        }
        return Answer.json(200, body, { "cache-control": "no-store" })
      }

      /** Back to the router, which knows better; it waits for what happens to the project, and asks again. */
      const bounce = (): Answer.Answer => {
        const app = serving.isStopping() ? null : serving.routerApp()
        return app === null
          ? Answer.problem(503, "sealed", "the project is not served here now", { "retry-after": "1" })
          : Answer.empty(307, { "fly-replay": `app=${app};state=stale`, "cache-control": "no-store" })
      }

      const isOurs = ({ project }: Address): boolean =>
        project === null || !comparesAddress || project === serving.projectId()

      const route = (address: Address, request: IncomingMessage, response: ServerResponse) => {
        const { path } = address
        if (path.startsWith("/documents/")) return DocumentRoutes.document(path.slice("/documents/".length), request)
        switch (path) {
          case "/documents":
            return DocumentRoutes.list(address.query, request)
          case "/":
            return Effect.succeed(
              address.bare
                ? Answer.empty(308, { location: `/projects/${address.project}/` })
                : request.method === "GET" || request.method === "HEAD"
                  ? page
                  : Answer.methodNotAllowed("GET, HEAD")
            )
          case "/export":
            return transfers.exported(request, response)
          case "/import":
            return transfers.imported(request)
          case "/ws":
            return Effect.succeed(
              Answer.problem(426, "upgrade_required", "this is a WebSocket", { upgrade: "websocket" })
            )
          default:
            return Effect.succeed(Answer.notFound)
        }
      }

      const respond = <R extends Routes>(
        request: IncomingMessage,
        response: ServerResponse,
        effect: Effect.Effect<Answer.Answer | null, never, R>,
        after: () => void
      ) => {
        const head = request.method === "HEAD"
        run(effect).addObserver((exit) => {
          after()
          if (Exit.isSuccess(exit)) {
            if (exit.value !== null) Answer.send(response, exit.value, head)
            return
          }
          if (!Cause.hasInterruptsOnly(exit.cause)) run(Effect.logError("a request died", exit.cause))
          Answer.send(response, Answer.problem(500, "internal", "the server could not answer"), head)
        })
      }

      const onRequest = (request: IncomingMessage, response: ServerResponse) => {
        const head = request.method === "HEAD"
        const address = addressOf(request.url, request.headers.host, serving.projectId())
        if (address === undefined)
          return Answer.send(response, Answer.problem(400, "bad_request", "the target is no path"))
        if (request.url?.startsWith("/internal/") === true) {
          return respond(request, response, InternalRoutes.internal(address.path, request), () => {})
        }
        if (address.path === "/health") return Answer.send(response, health(), head)
        if (request.method === "OPTIONS") {
          return Answer.send(response, Answer.preflight(request.headers["access-control-request-headers"]))
        }
        if (!isOurs(address) || !gate.enter()) return Answer.send(response, bounce(), head)
        respond(request, response, route(address, request, response), gate.leave)
      }

      const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        socket.on("error", () => socket.destroy())
        // Nobody reads what follows a refused upgrade, so nobody would see its sender go: the answer is the end.
        const say = (answer: Answer.Answer) => socket.end(Answer.rawText(answer), () => socket.destroy())
        const address = addressOf(request.url, request.headers.host, serving.projectId())
        if (address === undefined || request.url?.startsWith("/internal/") === true) return say(Answer.notFound)
        if (!isOurs(address) || !gate.isOpen()) return say(bounce())
        if (address.path !== "/ws") return say(Answer.notFound)
        if (!connections.accept(request, socket, head)) {
          say(Answer.problem(503, "internal", "too many connections", { "retry-after": "5" }))
        }
      }

      const server = createServer({ requestTimeout, noDelay: true }, onRequest)
      server.maxConnections = maxSockets
      server.on("upgrade", onUpgrade)

      yield* Effect.acquireRelease(
        Effect.callback<void, ListenError>((resume) => {
          server.once("error", (error) => resume(Effect.fail(new ListenError({ port, code: Disk.codeOf(error) }))))
          server.listen({ port, host }, () => resume(Effect.void))
        }),
        () =>
          Effect.gen(function* () {
            const closed = Effect.callback<void>((resume) => {
              server.close(() => resume(Effect.void))
              server.closeIdleConnections()
            })
            yield* serving.stop
            yield* connections.closeAll(closeCodes.goingAway, "the server stops")
            yield* Effect.timeoutOption(gate.empty, drainWithin)
            yield* Effect.timeoutOption(closed, "1 second")
            server.closeAllConnections()
          })
      )
      const address = server.address()
      return HttpServer.of({ port: typeof address === "object" && address !== null ? address.port : port })
    })
  )
}
