/** A project's data as one SQLite file, out and in, for whoever has its deploy key. One at a time: each takes disk. */
import * as Fs from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { Transform } from "node:stream"
import { pipeline } from "node:stream/promises"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { closeCodes } from "../contract/Documents.ts"
import * as Answer from "./Answer.ts"
import * as Body from "./Body.ts"
import { Connections } from "./Connections.ts"
import * as DatabaseWork from "./DatabaseWork.ts"
import * as Disk from "./Disk.ts"
import { DocumentStore } from "./DocumentStore.ts"
import { Gate } from "./Gate.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import { Serving } from "./Serving.ts"
import { StateFile } from "./StateFile.ts"

class TransferBroken extends Schema.TaggedError<TransferBroken>()("TransferBroken", { code: Schema.String }) {
  override get message() {
    return this.code === "ENOSPC" ? "the disk is full" : `the transfer broke off (${this.code})`
  }
}

const moved = <A>(run: (signal: AbortSignal) => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: (cause) => new TransferBroken({ code: Disk.codeOf(cause) }) })

const failed = (status: number, code: string) => (error: { readonly message: string }) =>
  Effect.succeed(Answer.problem(status, code, error.message))

export class TransferRoutes extends Context.Service<
  TransferRoutes,
  {
    /** The file is sent by itself; an answer is what to say instead. */
    exported(request: IncomingMessage, response: ServerResponse): Effect.Effect<Answer.Answer | null>
    imported(request: IncomingMessage): Effect.Effect<Answer.Answer>
  }
>()("valet/TransferRoutes") {
  static readonly layer = Layer.effect(
    TransferRoutes,
    Effect.gen(function* () {
      const config = yield* ProjectServerConfig
      const file = yield* StateFile
      const store = yield* DocumentStore
      const gate = yield* Gate
      const serving = yield* Serving
      const connections = yield* Connections
      const one = yield* Semaphore.make(1)
      const outgoing = `${config.databasePath}.export`
      const incoming = `${config.databasePath}.import`
      const clean = Effect.forEach([outgoing, incoming], Disk.removeDatabase, { discard: true }).pipe(Effect.ignore)
      if (Fs.existsSync(outgoing) || Fs.existsSync(incoming)) yield* clean

      const refused = (request: IncomingMessage, method: string): Answer.Answer | undefined => {
        if (request.method !== method) return Answer.methodNotAllowed(method)
        const key = serving.managed ? Redacted.make(file.current().deploy_key) : config.deployKey
        if (key !== null && Redacted.value(key) !== "" && Body.hasBearer(request, key)) return undefined
        return Answer.problem(401, "unauthorized", "this takes the project's deploy key", {
          "www-authenticate": "Bearer"
        })
      }

      const alone = <A>(effect: Effect.Effect<A>) =>
        one
          .withPermitsIfAvailable(1)(Effect.ensuring(effect, clean))
          .pipe(
            Effect.map(
              Option.getOrElse(() =>
                Answer.problem(503, "busy", "an export or import is running", { "retry-after": "5" })
              )
            )
          )

      /** What is sealed is not read any more, a copy of it neither. */
      const whileServed = () =>
        new Transform({
          transform(chunk: Buffer, _encoding, next) {
            if (gate.isOpen()) next(null, chunk)
            else next(new Error("sealed"))
          }
        })

      const send = (response: ServerResponse) =>
        moved(async (signal) => {
          const copy = await Fs.promises.open(outgoing, "r")
          try {
            await Fs.promises.rm(outgoing)
            const { size } = await copy.stat()
            response.writeHead(200, {
              ...Answer.cors,
              "content-type": "application/vnd.sqlite3",
              "content-length": size,
              "content-disposition": `attachment; filename="${serving.projectId() ?? "project"}.db"`
            })
            await pipeline(copy.createReadStream({ autoClose: false }), whileServed(), response, { signal })
          } finally {
            await copy.close()
          }
        })

      const exportTo = (response: ServerResponse) =>
        DatabaseWork.copy(config.databasePath, outgoing).pipe(
          Effect.andThen(send(response)),
          Effect.as(null),
          Effect.catch((error) =>
            Effect.logWarning(`export: ${error.message}`).pipe(
              Effect.as(response.headersSent ? null : Answer.problem(500, "internal", error.message))
            )
          )
        )

      const receive = (request: IncomingMessage) =>
        moved((signal) => pipeline(request, Fs.createWriteStream(incoming), { signal })).pipe(
          Effect.andThen(DatabaseWork.checkIntegrity(incoming)),
          Effect.andThen(DatabaseWork.checkDocuments(incoming)),
          Effect.flatMap(() =>
            store.exclusively(DatabaseWork.replaceDocuments(config.databasePath, incoming)).pipe(
              Effect.flatMap((documents) =>
                Effect.as(
                  connections.closeAll(closeCodes.serviceRestart, "all documents were replaced"),
                  Answer.json(200, { documents })
                )
              ),
              Effect.catchTag("Closed", failed(503, "sealed")),
              Effect.catch(failed(500, "internal"))
            )
          ),
          Effect.catchTags({
            DatabaseError: failed(400, "bad_request"),
            TransferBroken: failed(500, "internal")
          })
        )

      return TransferRoutes.of({
        exported: (request, response) =>
          Effect.suspend(() => {
            const answer = refused(request, "GET")
            return answer === undefined ? alone(exportTo(response)) : Effect.succeed(answer)
          }),
        imported: (request) =>
          Effect.suspend(() => {
            const answer = refused(request, "POST")
            return answer === undefined
              ? alone(receive(request))
              : Effect.succeed({ ...answer, headers: { ...answer.headers, connection: "close" } })
          })
      })
    })
  )
}
