/** Servers as processes of this computer. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as GatedProcess from "../../process/GatedProcess.ts"
import { inherited } from "../../process/Inherited.ts"
import { isGroupGone, processes } from "../../process/ProcessInfo.ts"
import type { ProcessMark } from "../../process/ProcessMark.ts"
import { OrchestratorFolder } from "../OrchestratorFolder.ts"
import type { Launch, ServerProcess } from "../ServerHost.ts"
import { LaunchError } from "./LaunchError.ts"
import * as GroupEnd from "./GroupEnd.ts"
import * as Output from "./Output.ts"
import * as PortPool from "./PortPool.ts"
import { findProgram } from "./Program.ts"

/** What a server leaves behind when it ends by itself has so long to end too. */
const restGraceMs = 2_000

/** In the environment of one server and what it starts: a port is one server's at a time. */
const ownName = "VALET_SERVER"

const bytesByGroup = Effect.map(processes, (rows) => {
  if (rows === null) return null
  const bytes = new Map<number, number>()
  for (const { group, rss } of rows) bytes.set(group, (bytes.get(group) ?? 0) + rss)
  return bytes
})

export const make = Effect.gen(function* () {
  const folder = yield* OrchestratorFolder
  const services = yield* Effect.context<FileSystem.FileSystem | ChildProcessSpawner.ChildProcessSpawner>()
  const fs = yield* FileSystem.FileSystem
  const ports = yield* PortPool.make
  const base = yield* inherited
  // One look at all processes for all servers that are asked at the same time.
  const memory = yield* Effect.cachedWithTTL(bytesByGroup, "1 second")
  const logOf = (name: string) => folder.own("logs", `${name.replaceAll(/[^A-Za-z0-9_-]/g, "_")}.log`)

  /** In a scope of its own, which closes as soon as the process and its group have ended. */
  const begin = Effect.fnUntraced(function* (launch: Launch, outer: Scope.Scope) {
    const port = yield* ports.take
    if (port === undefined) return yield* new LaunchError({ detail: "no free port is found" })
    const own = `${port}-${yield* Clock.currentTimeMillis}`
    const env: Readonly<Record<string, string>> = {
      ...base,
      ...launch.env,
      ...folder.childEnvironment,
      [ownName]: own,
      PORT: String(port)
    }
    const [name = "", ...args] = launch.command
    if (!(yield* Effect.orElseSucceed(fs.exists(launch.cwd), () => false))) {
      return yield* new LaunchError({ detail: `its folder ${launch.cwd} is not there` })
    }
    if (name === "") return yield* new LaunchError({ detail: "its command names no program" })
    const program = yield* findProgram(name, launch.cwd, env["PATH"] ?? "")
    if (program === undefined) return yield* new LaunchError({ detail: `${name} is not found, or is no program` })

    const marks: Array<ProcessMark> = []
    yield* Effect.addFinalizer(() =>
      Effect.forEach(marks, (mark) =>
        // One that can't be ended stays written down.
        Effect.flatMap(isGroupGone(mark.pid), (gone) => (gone ? folder.forgetChild(mark) : Effect.void))
      )
    )
    const note = (mark: ProcessMark) =>
      Effect.andThen(
        folder.noteChild(mark),
        Effect.sync(() => marks.push(mark))
      )
    // A leader that failed would have its group get the signal once more: SIGCONT says nothing.
    const gated = yield* GatedProcess.spawn({ program, args, cwd: launch.cwd, env }, note, "SIGCONT").pipe(
      Effect.catchTags({
        PlatformError: (error) => Effect.fail(new LaunchError({ detail: `${name}: ${error.message}` })),
        OrchestratorFolderError: (error) => Effect.fail(new LaunchError({ detail: error.message }))
      })
    )
    const { pid } = gated
    const group = yield* GroupEnd.make(pid, `${ownName}=${own}`, outer)
    yield* Effect.addFinalizer(() =>
      Effect.flatMap(group.kill, (gone) =>
        gone ? Effect.void : Effect.logError(`Processes of ${launch.name} (group ${pid}) were killed and do not end`)
      )
    )
    const output = yield* Output.make([gated.stdout, gated.stderr], logOf, launch.name)
    yield* gated.open

    let hasExited = false
    const exited = Effect.tap(gated.exited, () => Effect.sync(() => (hasExited = true)))
    /** Whoever left the group may hold its output open. */
    const read = Effect.timeoutOption(output.ended, "1 second")
    const over = Effect.andThen(Effect.andThen(exited, group.endRest(restGraceMs)), read)
    const process: ServerProcess = {
      pid,
      port,
      exited,
      output: Effect.andThen(
        Effect.suspend(() => (hasExited ? read : Effect.void)),
        output.lines
      ),
      written: output.written,
      memory: Effect.map(memory, (bytes) => (bytes === null ? null : (bytes.get(pid) ?? 0))),
      stop: group.end,
      rename: (name) => output.rename(name)
    }
    return { process, over }
  })

  return {
    launch: Effect.fn("ServerHost.launch")(function* (launch: Launch) {
      const outer = yield* Effect.scope
      const scope = yield* Scope.fork(outer)
      const { process, over } = yield* begin(launch, outer).pipe(
        Scope.provide(scope),
        Effect.provideContext(services),
        Effect.onExit((exit) => (Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void))
      )
      yield* over.pipe(
        Effect.andThen(Effect.uninterruptible(Scope.close(scope, Exit.void))),
        Effect.tapCause((cause) =>
          Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError(`${launch.name} is out of sight`, cause)
        ),
        Effect.forkIn(outer)
      )
      return process
    })
  }
})
