/** Processes of a bench: each on its core, with what it used of it, and ended with the scope. */
import { readFileSync } from "node:fs"
import * as http from "node:http"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { endOf } from "../../src/process/GatedProcess.ts"
import { inherited } from "../../src/process/Inherited.ts"
import { BenchFailed, failed } from "./Bench.ts"
import { type Core, pinned } from "./Machine.ts"

export interface Command {
  /** For errors. */
  readonly name: string
  readonly core: Core
  readonly command: ReadonlyArray<string>
  /** Beside PATH, HOME, TMPDIR, LANG and TZ. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface Pinned {
  readonly pid: number
  /** The first line of its standard output. */
  readonly line: Effect.Effect<string, BenchFailed>
  readonly cpuSeconds: Effect.Effect<number, BenchFailed>
  /** Of its own, and its part of what it shares. */
  readonly memoryBytes: Effect.Effect<number, BenchFailed>
  /** Its last output, and how it ended if it did: for errors. */
  readonly said: () => string
}

/** A server that was started to be kept has waited, and rehearsed, when somebody comes for it. */
export const rested = "300 millis"

const saidBytes = 4_000
const lineLimit = "60 seconds"
const runLimit = "5 minutes"
/** How the kernel counts, on all architectures that Node runs on. */
const ticksPerSecond = 100

const read = (path: string) => Effect.try({ try: () => readFileSync(path, "utf8"), catch: failed("it has ended") })

/** User and system time of all its threads. */
export const cpuSecondsOf = (pid: number): Effect.Effect<number, BenchFailed> =>
  Effect.map(read(`/proc/${pid}/stat`), (text) => {
    // The name, in parentheses, may hold spaces.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  })

export const memoryBytesOf = (pid: number): Effect.Effect<number, BenchFailed> =>
  Effect.map(read(`/proc/${pid}/smaps_rollup`), (text) => Number(/^Pss:\s*(\d+) kB/m.exec(text)?.[1]) * 1024)

export const spawn = (command: Command): Effect.Effect<Pinned, BenchFailed, Scope.Scope | ChildProcessSpawner> =>
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner
    const [program = "", ...args] = yield* pinned(command.core, command.command)
    const env = { ...(yield* inherited), ...command.env }
    const handle = yield* spawner
      .spawn(
        ChildProcess.make(program, args, {
          env,
          extendEnv: false,
          stdin: "ignore",
          killSignal: "SIGTERM",
          // An orchestrator has servers of its own to end.
          forceKillAfter: "60 seconds",
          ...(command.cwd === undefined ? {} : { cwd: command.cwd })
        })
      )
      .pipe(Effect.mapError(failed(`${command.name} can't be started`)))
    let said = ""
    let out = ""
    const line = Deferred.makeUnsafe<string, BenchFailed>()
    const hear = (text: string) => {
      said = (said + text).slice(-saidBytes)
    }
    const ended = handle.exitCode.pipe(
      Effect.match({ onFailure: (error) => `by ${endOf(error).signal}`, onSuccess: (code) => `with code ${code}` }),
      Effect.flatMap((how) => {
        hear(`\n${command.name} ended ${how}`)
        return Deferred.fail(line, new BenchFailed({ detail: said.trim() }))
      })
    )
    const stdout = handle.stdout.pipe(
      Stream.decodeText(),
      Stream.runForEach((text) =>
        Effect.sync(() => {
          hear(text)
          if (Deferred.isDoneUnsafe(line)) return
          out += text
          const end = out.indexOf("\n")
          if (end !== -1) Deferred.doneUnsafe(line, Effect.succeed(out.slice(0, end)))
        })
      )
    )
    const stderr = handle.stderr.pipe(
      Stream.decodeText(),
      Stream.runForEach((text) => Effect.sync(() => hear(text)))
    )
    yield* Effect.all([stdout, stderr], { concurrency: "unbounded" }).pipe(
      Effect.tapCause((cause) => Effect.logDebug(`output of ${command.name}`, cause)),
      Effect.ignoreCause,
      Effect.andThen(ended),
      Effect.forkScoped
    )
    return {
      pid: handle.pid,
      line: Deferred.await(line).pipe(
        Effect.timeoutOrElse({
          duration: lineLimit,
          orElse: () => Effect.fail(new BenchFailed({ detail: `${command.name} says nothing:\n${said.trim()}` }))
        })
      ),
      cpuSeconds: cpuSecondsOf(handle.pid),
      memoryBytes: memoryBytesOf(handle.pid),
      said: () => said
    }
  })

/** Runs to its end; what it wrote to standard output. */
export const run = (command: Command, input: Uint8Array = new Uint8Array()) =>
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner
    const [program = "", ...args] = yield* pinned(command.core, command.command)
    const handle = yield* spawner.spawn(
      ChildProcess.make(program, args, {
        env: { ...(yield* inherited), ...command.env },
        extendEnv: false,
        stdin: Stream.succeed(input),
        killSignal: "SIGKILL",
        ...(command.cwd === undefined ? {} : { cwd: command.cwd })
      })
    )
    const [out, err] = yield* Effect.all(
      [Stream.mkString(Stream.decodeText(handle.stdout)), Stream.mkString(Stream.decodeText(handle.stderr))],
      { concurrency: "unbounded" }
    )
    const code = yield* handle.exitCode
    return { out, err, code }
  }).pipe(
    Effect.scoped,
    Effect.mapError(failed(command.name)),
    Effect.timeoutOrElse({
      duration: runLimit,
      orElse: () => Effect.fail(new BenchFailed({ detail: `${command.name} did not end within ${runLimit}` }))
    }),
    Effect.filterOrFail(
      ({ code }) => code === 0,
      ({ code, err }) => new BenchFailed({ detail: `${command.name} ended with ${code}:\n${err.trim()}` })
    )
  )

/** Until somebody answers there, whatever it is. `said` is asked where nobody does. */
export const answers = (port: number, host: string, said: () => string): Effect.Effect<void, BenchFailed> =>
  Effect.callback<void, BenchFailed>((resume) => {
    const request = http.request({ host: "127.0.0.1", port, headers: { host }, agent: false }, (response) => {
      response.resume().once("close", () => resume(Effect.void))
    })
    request.once("error", ({ message }) => resume(Effect.fail(new BenchFailed({ detail: `${message}: ${said()}` }))))
    request.end()
    return Effect.sync(() => request.destroy())
  }).pipe(Effect.retry(Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: "20 seconds" }))))
