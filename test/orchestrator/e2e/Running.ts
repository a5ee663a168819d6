/** A `valet orchestrator` as a stranger runs it: a process of its own, ended with the scope however the test ends. */
import { spawn } from "node:child_process"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { OrchestratorStatus } from "../../../src/contract/OrchestratorStatus.ts"
import { ensureBundle } from "../../../src/local/Bundle.ts"
import { ask } from "../../e2e/Platform.ts"
import { eventually } from "../../support/eventually.ts"

export const Ready = Schema.fromJsonString(
  Schema.Struct({
    ready: Schema.Literal(true),
    url: Schema.String,
    pid: Schema.Int,
    data_dir: Schema.String,
    admin_token_file: Schema.String
  })
)

const inherited = () => ({ PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" })

class NotReady extends Schema.TaggedError<NotReady>()("NotReady", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const decodeStatus = Schema.decodeUnknownEffect(Schema.fromJsonString(OrchestratorStatus))

/** `flags` end where `--` and a command may begin. The same data folder can be given to one after another. */
export const orchestrator = (
  dataDir: string,
  flags: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>> = {},
  nodeFlags: ReadonlyArray<string> = []
) =>
  Effect.gen(function* () {
    const { valet } = yield* ensureBundle
    const logs: Array<string> = []
    let out = ""
    const line = yield* Deferred.make<string, NotReady>()
    const ended = yield* Deferred.make<number | string>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(
          process.execPath,
          [...nodeFlags, valet, "orchestrator", "--port", "0", "--data-dir", dataDir, "--json", ...flags],
          {
            stdio: ["ignore", "pipe", "pipe"],
            env: { ...inherited(), ...environment }
          }
        )
      ),
      (running) =>
        Effect.gen(function* () {
          running.kill("SIGTERM")
          yield* Deferred.await(ended).pipe(Effect.timeoutOption("30 seconds"))
          running.kill("SIGKILL")
        })
    )
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString()
      if (out.includes("\n")) Deferred.doneUnsafe(line, Effect.succeed(out))
    })
    child.stderr.on("data", (chunk: Buffer) => logs.push(chunk.toString()))
    child.once("exit", (code, signal) => {
      Deferred.doneUnsafe(ended, Effect.succeed(code ?? signal ?? ""))
      Deferred.doneUnsafe(
        line,
        Effect.fail(new NotReady({ detail: `the orchestrator ended with ${code ?? signal}:\n${logs.join("")}` }))
      )
    })
    const ready = yield* Deferred.await(line).pipe(
      Effect.timeout("60 seconds"),
      Effect.flatMap(Schema.decodeUnknownEffect(Ready))
    )
    const status = ask(ready.url, { path: "/status", headers: { accept: "application/json" } }).pipe(
      Effect.flatMap(({ body }) => decodeStatus(body))
    )
    /** The project's entry, absent where it has no server. */
    const server = (id: string) =>
      Effect.map(status, ({ servers }) => servers.find(({ project_id }) => project_id === id))
    return {
      ...ready,
      child,
      status,
      server,
      /** Until the project's server is gone. */
      stopped: (id: string) => eventually(Effect.map(server(id), (it) => it === undefined)),
      logs: () => logs.join(""),
      ended: Deferred.await(ended).pipe(Effect.timeout("60 seconds"))
    }
  })

export const temporaryFolder = Effect.flatMap(FileSystem.FileSystem, (fs) =>
  fs.makeTempDirectoryScoped({ prefix: "valet-orchestrator-" })
)
