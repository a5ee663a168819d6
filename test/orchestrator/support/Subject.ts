/** What stands between a test's client and its server: a process whose proxy is looked at from outside. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { fork, type ChildProcess } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Schema from "effect/Schema"
import { eventually } from "../../support/eventually.ts"

export const Held = Schema.Struct({
  /** Connections that are open, listeners not counted. */
  sockets: Schema.Int,
  /** Uses of servers that are not given back. */
  inUse: Schema.Int,
  /** Bytes. */
  rss: Schema.Finite,
  /** The most that it ever was, in bytes. */
  maxRss: Schema.Finite
})
export type Held = typeof Held.Type

export class Subject extends Context.Service<
  Subject,
  {
    readonly port: number
    readonly held: Effect.Effect<Held>
    /** What it wrote so far. */
    readonly log: Effect.Effect<string>
    readonly running: Effect.Effect<boolean>
  }
>()("valet/test/Subject") {}

/** The project whose server is the test's own on this port of this machine. */
export const projectOn = (port: number): string => `p${port}`
export const pathOn = (port: number): string => `/projects/${projectOn(port)}`
export const hostOn = (port: number): string => `${projectOn(port)}.localhost`

const Started = Schema.Struct({ port: Schema.Int })

const message = (child: ChildProcess): Effect.Effect<unknown> =>
  Effect.callback((resume) => {
    const listener = (value: unknown) => resume(Effect.succeed(value))
    const ended = () => resume(Effect.die(new Error("the front's process ended")))
    child.once("message", listener).once("exit", ended)
    return Effect.sync(() => child.off("message", listener).off("exit", ended))
  })

/** Only the front, over stubs, in a process of its own. */
export const layerFront = (overrides: object = {}): Layer.Layer<Subject> =>
  Layer.effect(
    Subject,
    Effect.gen(function* () {
      let log = ""
      const child = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const file = fileURLToPath(new URL("FrontProcess.ts", import.meta.url))
          const child = fork(file, [JSON.stringify(overrides)], { silent: true, execArgv: ["--expose-gc"] })
          const keep = (chunk: Buffer) => (log += chunk.toString())
          child.stdout?.on("data", keep)
          child.stderr?.on("data", keep)
          return child
        }),
        (child) =>
          Effect.callback<void>((resume) => {
            if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
            child.once("exit", () => resume(Effect.void))
            child.kill("SIGKILL")
            return undefined
          })
      )
      const started = yield* message(child).pipe(
        Effect.flatMap(Schema.decodeUnknownEffect(Started)),
        Effect.tapCause(() => Effect.logError(log)),
        Effect.orDie
      )
      const held = Effect.suspend(() => {
        const answer = message(child)
        child.send("held")
        return Effect.orDie(Effect.flatMap(answer, Schema.decodeUnknownEffect(Held)))
      })
      return Subject.of({
        port: started.port,
        held,
        log: Effect.sync(() => log),
        running: Effect.sync(() => child.exitCode === null && child.signalCode === null)
      })
    })
  )

/** Holds no connection and no use of a server any more. */
export const atRest = Effect.gen(function* () {
  const { held } = yield* Subject
  yield* eventually(Effect.map(held, ({ inUse, sockets }) => inUse === 0 && sockets === 0))
})
