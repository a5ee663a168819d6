/**
 * The state of the machine on its volume. It is read before the server listens, and a change is on disk before anything
 * follows from it. A file that can't be read stops the server: a guess could serve a sealed database.
 */
import * as Fs from "node:fs"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Disk from "./Disk.ts"
import { MachineState, unconfigured } from "./MachineState.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"

export class StateFileError extends Schema.TaggedError<StateFileError>()("StateFileError", { detail: Schema.String }) {
  override get message() {
    return `state file: ${this.detail}`
  }
}

const Json = Schema.fromJsonString(MachineState)
const decode = Schema.decodeUnknownEffect(Json)
const encode = Schema.encodeSync(Json)

export const stateFileName = "valet-state.json"

export class StateFile extends Context.Service<
  StateFile,
  {
    /** As it is on disk. */
    readonly current: () => MachineState
    /** On disk, with its folder, when it returns. */
    write(next: MachineState): Effect.Effect<void, Disk.DiskError>
  }
>()("valet/StateFile") {
  static readonly layer = Layer.effect(
    StateFile,
    Effect.gen(function* () {
      const { dataDir, stateDir } = yield* ProjectServerConfig
      const path = `${stateDir}/${stateFileName}`
      const text = yield* Disk.attempt("reading", () => {
        for (const folder of [dataDir, stateDir]) Fs.mkdirSync(folder, { recursive: true })
        Fs.rmSync(`${path}.tmp`, { force: true })
        return Fs.existsSync(path) ? Fs.readFileSync(path, "utf8") : null
      }).pipe(Effect.mapError((error) => new StateFileError({ detail: error.message })))
      let state =
        text === null
          ? unconfigured
          : yield* decode(text).pipe(
              Effect.mapError(() => new StateFileError({ detail: "not what this server writes; nothing is served" }))
            )
      return StateFile.of({
        current: () => state,
        write: (next) =>
          Effect.map(Disk.writeDurably(path, encode(next)), () => {
            state = next
          })
      })
    })
  )
}
