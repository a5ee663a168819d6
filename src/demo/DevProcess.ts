/** A `valet dev` of one's own, as a process: ready when it says so, stopped with the scope. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { DevRecordJson } from "../local/dev/DevRecord.ts"

export class DevNotReady extends Schema.TaggedError<DevNotReady>()("DevNotReady", { detail: Schema.String }) {
  override get message() {
    return `valet dev did not become ready: ${this.detail}`
  }
}

const readyWithin = "60 seconds"
const decode = Schema.decodeUnknownEffect(DevRecordJson)

/** `command` runs `valet dev`; `--json` is added to its arguments. The environment is added to this process's. */
export const startDev = Effect.fn("startDev")(
  function* (command: ReadonlyArray<string>, environment: Readonly<Record<string, string>> = {}) {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const [program = "", ...args] = command
    const child = yield* spawner.spawn(
      ChildProcess.make(program, [...args, "--json"], {
        extendEnv: true,
        env: environment,
        stderr: "inherit",
        killSignal: "SIGTERM",
        forceKillAfter: "30 seconds"
      })
    )
    const line = yield* child.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.runHead,
      Effect.timeout(readyWithin)
    )
    const text = yield* Effect.fromOption(line)
    return yield* decode(text)
  },
  Effect.mapError((error) => new DevNotReady({ detail: error instanceof Error ? error.message : String(error) }))
)
