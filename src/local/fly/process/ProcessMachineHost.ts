/** Commands beside a machine's own process, and what runs in its group. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as FileSystem from "effect/FileSystem"
import { MachineHost } from "../MachineHost.ts"
import { refusal } from "../model/Refusal.ts"
import { endOf } from "../../../process/GatedProcess.ts"
import { exitOf } from "./MachineProcess.ts"
import { ProcessHost } from "./ProcessHost.ts"
import { groupMembers } from "../../../process/ProcessInfo.ts"

/** What is printed beyond it is dropped. */
const longestOutput = 1024 * 1024

const text = (stream: Stream.Stream<Uint8Array, unknown>) =>
  stream.pipe(
    Stream.decodeText(),
    Stream.runFold(
      () => "",
      (all, chunk) => (all.length >= longestOutput ? all : (all + chunk).slice(0, longestOutput))
    ),
    Effect.orElseSucceed(() => "")
  )

export const layer = Layer.effect(
  MachineHost,
  Effect.gen(function* () {
    const host = yield* ProcessHost
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const fs = yield* FileSystem.FileSystem
    return MachineHost.of({
      exec: (machine, input) =>
        Effect.gen(function* () {
          const running = host.find(machine.id)
          const [command = "", ...args] = input.command
          if (running === undefined) return yield* Effect.fail(refusal(412, "failed_precondition: machine not running"))
          const handle = yield* spawner.spawn(
            ChildProcess.make(command, args, {
              cwd: running.folder,
              env: running.environment,
              extendEnv: false,
              killSignal: "SIGKILL"
            })
          )
          yield* Stream.make(input.stdin).pipe(Stream.encodeText, Stream.run(handle.stdin), Effect.ignore)
          const [stdout, stderr, exit] = yield* Effect.all(
            [
              text(handle.stdout),
              text(handle.stderr),
              handle.exitCode.pipe(
                Effect.map((code) => ({ code: Number(code), signal: 0 })),
                Effect.catch((error) => Effect.succeed(exitOf(endOf(error))))
              )
            ],
            { concurrency: 3 }
          )
          return { stdout, stderr, exitCode: exit.signal === 0 ? exit.code : 0, exitSignal: exit.signal }
        }).pipe(
          Effect.scoped,
          Effect.catchTag("PlatformError", (error) =>
            Effect.fail(refusal(400, `invalid_argument: failed to run command: ${error.message}`))
          ),
          Effect.timeoutOrElse({
            duration: input.timeoutMs,
            orElse: () => Effect.fail(refusal(408, "deadline_exceeded: context deadline exceeded"))
          })
        ),
      processes: (machine) => {
        const running = host.find(machine.id)
        return running === undefined
          ? Effect.succeed([])
          : groupMembers(running.process.pid).pipe(Effect.provideService(FileSystem.FileSystem, fs))
      }
    })
  })
)
