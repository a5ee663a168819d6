/**
 * Runs the model's machines as processes and keeps its volumes as folders.
 *
 * The model tells what is to happen; each machine's and each volume's share of it happens in that order, beside the
 * others'. What comes of it is reported back, under the number of the run that it belongs to.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { constants } from "node:os"
import type { FlyState, HostAction, Machine } from "../model/FlyState.ts"
import type { Report } from "../model/Hosts.ts"
import { machineEnvironment } from "./Environment.ts"
import * as Folders from "./Folders.ts"
import { endLeftovers } from "./Leftovers.ts"
import type { Command, MachineProcess } from "./MachineProcess.ts"
import { spawn } from "./MachineProcess.ts"
import type { OwnAnswer } from "./OwnSocket.ts"
import { serveAt } from "./OwnSocket.ts"
import { freePort } from "../../../process/Ports.ts"
import { signalGroup, signalProcess } from "../../../process/ProcessInfo.ts"

export interface ProcessHostOptions {
  readonly dataDir: string
  /** What runs in a machine. Its `env` comes after the machine's own configuration and before what Fly sets. */
  readonly command: (machine: Machine) => Command
  readonly logLimitBytes?: number
  /** How long machines have to end when the whole closes, before they are killed. */
  readonly shutdownGraceMs?: number
}

/** Where reports go, and what a machine's own socket answers; known only once the world is made. */
export interface Outside {
  report(machineId: string, run: number, what: Report): Effect.Effect<void>
  own(app: string, machineId: string): OwnAnswer
}

export interface Running {
  readonly run: number
  readonly process: MachineProcess
  readonly environment: Readonly<Record<string, string>>
  readonly folder: string
  readonly scope: Scope.Closeable
  /** Process gone, socket closed, report given. */
  readonly gone: Deferred.Deferred<void>
}

const defaultLogBytes = 1024 * 1024
const defaultGraceMs = 5_000
/** For a process that was told to stop by an update, before its successor takes over. */
const successionMs = 60_000

const make = Effect.fnUntraced(function* (options: ProcessHostOptions) {
  const folders = yield* Folders.make(options.dataDir)
  const services = yield* Effect.context<FileSystem.FileSystem | Path.Path | ChildProcessSpawner.ChildProcessSpawner>()
  // Closed last, by hand: whoever watches a machine must see it end.
  const scope = yield* Scope.make()
  const outside = yield* Deferred.make<Outside>()
  const running = new Map<string, Running>()
  const turns = new Map<string, Semaphore.Semaphore>()
  let closing = false

  const ended = yield* endLeftovers(folders.machines)
  if (ended > 0) yield* Effect.logInfo(`Ended ${ended} machines of a local Fly that was killed`)

  /** One thing after the other for each machine and each volume. */
  const inTurn = (key: string) => {
    const turn = turns.get(key) ?? Semaphore.makeUnsafe(1)
    turns.set(key, turn)
    return turn.withPermits(1)
  }

  const report = (machineId: string, run: number, what: Report) =>
    closing ? Effect.void : Effect.flatMap(Deferred.await(outside), (it) => it.report(machineId, run, what))

  const alive = (it: Running) => !Deferred.isDoneUnsafe(it.process.exited)
  const signal = (it: Running | undefined, name: NodeJS.Signals) =>
    it === undefined || !alive(it) ? Effect.void : Effect.asVoid(signalGroup(it.process.pid, name))

  const volumeOf = (machine: Machine) => machine.config.mounts?.[0]?.volume

  const awaitGone = (it: Running, withinMs: number) =>
    Deferred.await(it.gone).pipe(
      Effect.timeoutOrElse({
        duration: withinMs,
        orElse: () => Effect.andThen(signal(it, "SIGKILL"), Deferred.await(it.gone))
      })
    )

  const boot = Effect.fnUntraced(function* (machine: Machine, run: number) {
    const before = running.get(machine.id)
    if (before !== undefined) yield* awaitGone(before, successionMs)
    const { own } = yield* Deferred.await(outside)
    const processScope = yield* Scope.fork(scope)
    const volume = volumeOf(machine)
    const folder = volume === undefined ? folders.rootfs(machine.id) : folders.volume(volume)
    const started = yield* Effect.gen(function* () {
      yield* folders.make(folders.machine(machine.id))
      // Waits for a copy into the volume that is still under way.
      yield* inTurn(volume ?? machine.id + "/root")(folders.make(folder))
      const socket = yield* serveAt(folders.socket(machine.id), own(machine.app, machine.id))
      const port = yield* freePort
      const command = options.command(machine)
      const environment = yield* machineEnvironment(machine, { folder, port, socket, extra: command.env })
      const process = yield* spawn({
        machineId: machine.id,
        command: { ...command, env: environment },
        cwd: folder,
        port,
        recordPath: folders.record(machine.id),
        logPath: folders.log(machine.id),
        logLimitBytes: options.logLimitBytes ?? defaultLogBytes
      })
      return { process, environment }
    }).pipe(Scope.provide(processScope), Effect.exit)
    if (Exit.isFailure(started)) {
      yield* Effect.logWarning(`Machine ${machine.id} does not start`, started.cause)
      yield* Scope.close(processScope, Exit.void)
      return yield* report(machine.id, run, { _tag: "Exited", code: 127, signal: 0, oom: false })
    }
    const it: Running = {
      run,
      ...started.value,
      folder,
      scope: processScope,
      gone: yield* Deferred.make<void>()
    }
    running.set(machine.id, it)
    yield* Deferred.await(it.process.exited).pipe(
      Effect.flatMap((exit) =>
        // Closing ends what is left of the group, so that `gone` means everybody.
        Effect.gen(function* () {
          yield* Scope.close(processScope, Exit.void)
          if (running.get(machine.id) === it) running.delete(machine.id)
          yield* Deferred.succeed(it.gone, undefined)
          yield* report(machine.id, run, { _tag: "Exited", ...exit })
        })
      ),
      Effect.tapCause((cause) => Effect.logError(`Machine ${machine.id} is out of sight`, cause)),
      Effect.forkIn(scope)
    )
    yield* report(machine.id, run, { _tag: "Ready" })
  })

  const stop = Effect.fnUntraced(function* (machineId: string, run: number, name: string, timeoutMs: number) {
    const it = running.get(machineId)
    if (it === undefined) return yield* report(machineId, run, { _tag: "Exited", code: 0, signal: 0, oom: false })
    const known = Object.keys(constants.signals).find((it): it is NodeJS.Signals => it === name) ?? "SIGINT"
    yield* signal(it, known)
    yield* signal(it, "SIGCONT")
    yield* awaitGone(it, timeoutMs).pipe(Effect.forkIn(scope))
  })

  const kill = Effect.fnUntraced(function* (machineId: string, run: number) {
    const it = running.get(machineId)
    if (it === undefined) return yield* report(machineId, run, { _tag: "Exited", code: 0, signal: 9, oom: false })
    yield* signal(it, "SIGKILL")
    yield* Deferred.await(it.gone)
    if (it.run !== run) yield* report(machineId, run, { _tag: "Exited", code: 0, signal: 9, oom: false })
  })

  /** Crash-consistent, as a block device's snapshot is: whoever writes stands still meanwhile. */
  const stillCopy = Effect.fnUntraced(function* (state: FlyState, volumeId: string, from: string, to: string) {
    const holder = state.volumes[volumeId]?.machineId ?? ""
    const it = running.get(holder)
    const awake = state.machines[holder]?.state === "started"
    yield* Effect.acquireUseRelease(
      awake ? signal(it, "SIGSTOP") : Effect.void,
      () => folders.copy(from, to),
      () => (awake ? signal(it, "SIGCONT") : Effect.void)
    )
  })

  const perform = Effect.fnUntraced(function* (action: HostAction, state: FlyState) {
    switch (action._tag) {
      case "Boot": {
        const machine = state.machines[action.machineId]
        return machine === undefined ? undefined : yield* boot(machine, action.run)
      }
      case "Resume":
        yield* signal(running.get(action.machineId), "SIGCONT")
        return yield* report(
          action.machineId,
          action.run,
          running.has(action.machineId) ? { _tag: "Ready" } : { _tag: "Exited", code: 1, signal: 0, oom: false }
        )
      case "Suspend":
        yield* signal(running.get(action.machineId), "SIGSTOP")
        return yield* report(action.machineId, action.run, { _tag: "Suspended" })
      case "Stop":
        return yield* stop(action.machineId, action.run, action.signal, action.timeoutMs)
      case "Kill":
        return yield* kill(action.machineId, action.run)
      case "Signal": {
        const it = running.get(action.machineId)
        const name = Object.keys(constants.signals).find((it): it is NodeJS.Signals => it === action.signal)
        return it === undefined || name === undefined ? undefined : yield* signalProcess(it.process.pid, name)
      }
      case "Freeze":
        return yield* signal(running.get(action.machineId), "SIGSTOP")
      case "Thaw":
        return state.machines[action.machineId]?.state === "suspended"
          ? undefined
          : yield* signal(running.get(action.machineId), "SIGCONT")
      case "Forget":
        yield* folders.remove(folders.machine(action.machineId))
        turns.delete(action.machineId)
        return
      case "VolumeCreated":
        return action.from === null
          ? yield* folders.make(folders.volume(action.volumeId))
          : "volume" in action.from
            ? yield* stillCopy(
                state,
                action.from.volume,
                folders.volume(action.from.volume),
                folders.volume(action.volumeId)
              )
            : yield* folders.copy(folders.snapshot(action.from.snapshot), folders.volume(action.volumeId))
      case "VolumeGone":
        yield* folders.remove(folders.volume(action.volumeId))
        turns.delete(action.volumeId)
        return
      case "SnapshotTaken":
        return yield* stillCopy(
          state,
          action.volumeId,
          folders.volume(action.volumeId),
          folders.snapshot(action.snapshotId)
        )
      case "SnapshotGone":
        return yield* folders.remove(folders.snapshot(action.snapshotId))
    }
  })

  const keyOf = (action: HostAction): string =>
    "machineId" in action
      ? action.machineId
      : action._tag === "SnapshotTaken" || action._tag === "VolumeGone"
        ? action.volumeId
        : "volumeId" in action
          ? action.volumeId
          : action.snapshotId

  /** Notes it and returns; the model waits for the report. */
  const accept = (action: HostAction, state: FlyState) =>
    closing
      ? Effect.void
      : perform(action, state).pipe(
          inTurn(keyOf(action)),
          // Nobody waits for what is to be killed anyway.
          (rest) =>
            action._tag === "Kill" ? Effect.andThen(signal(running.get(action.machineId), "SIGKILL"), rest) : rest,
          Effect.tapCause((cause) => Effect.logError(`${action._tag} failed`, cause)),
          Effect.ignoreCause,
          Effect.provideContext(services),
          Effect.forkIn(scope, { startImmediately: true }),
          Effect.asVoid
        )

  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      closing = true
      const all = [...running.values()]
      for (const it of all) {
        yield* signal(it, "SIGTERM")
        yield* signal(it, "SIGCONT")
      }
      yield* Effect.forEach(all, (it) => awaitGone(it, options.shutdownGraceMs ?? defaultGraceMs), {
        concurrency: "unbounded",
        discard: true
      })
      for (const it of all) {
        yield* signalGroup(it.process.pid, 0).pipe(
          Effect.repeat({ while: (left) => left, schedule: Schedule.spaced("10 millis"), times: 300 })
        )
      }
      yield* Scope.close(scope, Exit.void)
    })
  )

  return {
    folders,
    accept,
    connect: (to: Outside) => Deferred.succeed(outside, to),
    find: (machineId: string): Running | undefined => running.get(machineId)
  }
})

export class ProcessHost extends Context.Service<ProcessHost, Effect.Success<ReturnType<typeof make>>>()(
  "valet/local/ProcessHost"
) {
  static readonly layer = (options: ProcessHostOptions) => Layer.effect(ProcessHost, make(options))
}
