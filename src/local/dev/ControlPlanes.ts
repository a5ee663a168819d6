/**
 * The control-plane instances of a local platform: each a `valet serve` process of its own on a port of its own, started
 * again a second after it dies, its output in a log file of the data folder.
 */
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { closeSync, openSync } from "node:fs"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as HttpClient from "effect/http/HttpClient"
import { freePort } from "../../process/Ports.ts"
import { DataFolder } from "./DataFolder.ts"
import type { ProcessMark } from "../../process/ProcessMark.ts"
import { markOf, terminate } from "../../process/ProcessMark.ts"

export class NotStarted extends Schema.TaggedError<NotStarted>()("NotStarted", {
  instance: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.instance} did not become ready: ${this.detail}`
  }
}

export interface Instance {
  readonly id: string
  readonly url: string
  readonly pid: number
}

export interface ControlPlanesOptions {
  readonly instances: number
  /** Command and arguments that run `serve`. */
  readonly command: readonly [string, ...ReadonlyArray<string>]
  /** Whole environment of an instance; port and machine id are added. */
  readonly environment: Readonly<Record<string, string>>
}

const restartAfterMs = 1_000
const readyWithinMs = 30_000
/** It drains within 10 s; a little more for the machine it runs on. */
const stopGraceMs = 12_000

const make = (options: ControlPlanesOptions) =>
  Effect.gen(function* () {
    const folder = yield* DataFolder
    const fs = yield* FileSystem.FileSystem
    const http = yield* HttpClient.HttpClient
    const running = yield* Ref.make<ReadonlyMap<string, Instance & { readonly mark: ProcessMark }>>(new Map())
    const turn = yield* Semaphore.make(1)
    /** What is written is never older than what was written before. */
    const changed = Effect.flatMap(Ref.get(running), (all) =>
      folder.noteChildren([...all.values()].map((instance) => instance.mark))
    ).pipe(turn.withPermits(1))

    /** One life of an instance: returns when the process has ended. */
    const life = (id: string, port: number, first: Deferred.Deferred<void, NotStarted>) =>
      Effect.gen(function* () {
        const log = folder.at("logs", `${id}.log`)
        const [command, ...args] = options.command
        const child = yield* Effect.acquireRelease(
          Effect.sync((): ChildProcess => {
            const out = openSync(log, "a", 0o600)
            try {
              return spawn(command, args, {
                env: { ...options.environment, CONTROL_PLANE_PORT: String(port), FLY_MACHINE_ID: id },
                stdio: ["ignore", out, out],
                detached: true
              })
            } finally {
              closeSync(out)
            }
          }),
          (child) =>
            Effect.gen(function* () {
              const mark = child.pid === undefined ? null : yield* markOf(child.pid)
              if (mark !== null) yield* terminate(mark, stopGraceMs)
              yield* Ref.update(running, (all) => new Map([...all].filter(([key]) => key !== id)))
              yield* changed
            })
        )
        const ended = yield* Deferred.make<string>()
        const finish = (reason: string) => Deferred.doneUnsafe(ended, Effect.succeed(reason))
        child.once("error", (error) => finish(error.message))
        child.once("exit", (code, signal) => finish(signal ?? `exit ${code}`))
        const mark = child.pid === undefined ? null : yield* markOf(child.pid)
        if (mark !== null) {
          const instance = { id, url: `http://127.0.0.1:${port}`, pid: mark.pid, mark }
          yield* Ref.update(running, (all) => new Map([...all, [id, instance]]))
          yield* changed
        }
        const ready = http.get(`http://127.0.0.1:${port}/health/ready`).pipe(
          Effect.filterOrFail((response) => response.status === 200),
          Effect.timeout("2 seconds"),
          Effect.retry(Schedule.spaced("50 millis")),
          Effect.timeoutOption(readyWithinMs)
        )
        const answered = yield* Effect.raceFirst(ready, Effect.as(Deferred.await(ended), Option.none()))
        yield* Option.isSome(answered)
          ? Deferred.succeed(first, undefined)
          : Deferred.fail(first, new NotStarted({ instance: id, detail: `see ${log}` }))
        const reason = yield* Deferred.await(ended)
        yield* Effect.logWarning("control plane ended, starting it again", { instance: id, reason })
      }).pipe(Effect.scoped)

    const supervise = (index: number) =>
      Effect.gen(function* () {
        const id = `cp${index + 1}`
        const first = yield* Deferred.make<void, NotStarted>()
        yield* fs.remove(folder.at("logs", `${id}.log`), { force: true }).pipe(Effect.ignore)
        const port = yield* freePort
        yield* life(id, port, first).pipe(
          Effect.andThen(Effect.sleep(restartAfterMs)),
          Effect.forever,
          Effect.tapCause((cause) => Effect.logError(`supervision of ${id} ended`, cause)),
          Effect.forkScoped
        )
        yield* Deferred.await(first)
      })

    yield* Effect.forEach(
      Array.from({ length: options.instances }, (_, index) => index),
      supervise,
      { concurrency: "unbounded", discard: true }
    )
    return ControlPlanes.of({
      instances: Effect.map(Ref.get(running), (all) =>
        [...all.values()].map(({ id, url, pid }) => ({ id, url, pid })).toSorted((a, b) => a.id.localeCompare(b.id))
      )
    })
  })

export class ControlPlanes extends Context.Service<
  ControlPlanes,
  { readonly instances: Effect.Effect<ReadonlyArray<Instance>> }
>()("valet/local/ControlPlanes") {
  static readonly layer = (options: ControlPlanesOptions) => Layer.effect(ControlPlanes, make(options))
}
