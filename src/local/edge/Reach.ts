/**
 * From "this app, perhaps this machine" to an open connection: which machine, woken if it sleeps, tried again while it
 * is between two states. Rules and codes are Fly's; everything local is in one region, so regions choose nothing.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as http from "node:http"
import { LocalMachines, type LocalTarget } from "../fly/LocalMachines.ts"
import { EdgeError } from "./EdgeError.ts"
import * as Upstream from "../../proxy/Upstream.ts"

/** A live instance of the router app. */
export interface ControlPlane {
  readonly id: string
  /** `http://host:port`. */
  readonly url: string
}

/** Who answers a request, and may issue a replay. */
export interface Origin {
  readonly app: string
  readonly id: string
  readonly region: string
  readonly host: string
  readonly port: number
}

export interface Wanted {
  readonly app: string
  readonly instance?: string | undefined
  readonly preferInstance?: string | undefined
  /** No candidate: the issuer of a replay with `elsewhere`. */
  readonly exclude?: string | undefined
  readonly timeoutMs?: number | undefined
}

export interface Reached {
  readonly origin: Origin
  readonly connection: Upstream.Connection
}

/** The words of `fly-replay-failed`. */
export class Unreached extends Schema.TaggedError<Unreached>()("Unreached", {
  reason: Schema.Literals(["timeout", "retries_exhausted", "no_candidate"]),
  error: EdgeError
}) {
  override get message() {
    return this.error.message
  }
}

export interface ReachOptions {
  readonly routerApp: string
  readonly planes: Effect.Effect<ReadonlyArray<ControlPlane>>
  /** Apps that exist even while they have no machine. */
  readonly apps: ReadonlyArray<string>
  readonly region: string
}

export interface Reach {
  readonly exists: (app: string) => Effect.Effect<boolean>
  /** `open` writes the request for the origin that was chosen; `missed` names a preferred machine that was not. */
  readonly connect: (
    wanted: Wanted,
    open: (origin: Origin, missed: string | undefined) => Upstream.Target,
    agent: http.Agent | false
  ) => Effect.Effect<Reached, Unreached | Upstream.Unsendable, Scope.Scope>
  /** Resumes the machine if it went to sleep with a request already in its hands. */
  readonly wakeIfAsleep: (origin: Origin) => Effect.Effect<void>
}

/** Fly: "up to 90 retries are attempted" (PR03). */
const retries = 90
const retryEvery = "100 millis"
/** A machine that fails to start this often in one request is given up. */
const startAttempts = 3
/** Without `timeout` in the replay. */
const defaultTimeoutMs = 30_000
/** Of an autostart that callers share; a caller waits no longer than its own timeout. */
const autostartTimeout = "60 seconds"
/** A control plane with a full backlog takes no connection and refuses none. */
const connectTimeout = "5 seconds"

class Miss extends Schema.TaggedError<Miss>()("Miss", { error: EdgeError, again: Schema.Boolean }) {}
const miss = (code: EdgeError["code"], detail: string, again: boolean) =>
  new Miss({ error: new EdgeError({ code, detail }), again })

const sleeping = (machine: LocalTarget) => machine.state === "stopped" || machine.state === "suspended"
const transient = new Set(["creating", "created", "starting", "stopping", "suspending", "restarting", "updating"])
const dead = new Set(["destroyed", "destroying", "failed", "launch_failed", "migrated"])

export const make = Effect.fnUntraced(function* (options: ReachOptions) {
  const machines = yield* LocalMachines
  const starts = yield* FiberMap.make<string, boolean, never>()
  const turn = yield* Ref.make(0)

  /** Concurrent requests share one start, which outlives the request that began it. */
  const autostart = (id: string) =>
    Effect.suspend(() => {
      const running = FiberMap.getUnsafe(starts, id)
      if (Option.isSome(running)) return Fiber.join(running.value)
      const start = machines.autostart(id).pipe(
        Effect.timeoutOrElse({ duration: autostartTimeout, orElse: () => Effect.succeed(false) }),
        Effect.catchCauseIf(
          (cause) => !Cause.hasInterruptsOnly(cause),
          (cause) => Effect.as(Effect.logError(`autostart of ${id} failed`, cause), false)
        )
      )
      return Effect.flatMap(FiberMap.run(starts, id, start), Fiber.join)
    })

  const rotate = <A>(list: ReadonlyArray<A>) =>
    Ref.getAndUpdate(turn, (n) => (n + 1) % 0x40000000).pipe(
      Effect.map((n) => {
        const at = list.length === 0 ? 0 : n % list.length
        return [...list.slice(at), ...list.slice(0, at)]
      })
    )

  const connect: Reach["connect"] = (wanted, open, agent) =>
    Effect.gen(function* () {
      const last = yield* Ref.make(new EdgeError({ code: "PR03", detail: `no candidate in ${wanted.app}` }))
      let failedStarts = 0

      const dial = (origin: Origin) =>
        Upstream.connect(open(origin, missed(origin)), agent).pipe(
          Effect.map((connection) => ({ origin, connection })),
          Effect.catchTag("NotConnected", ({ detail }) =>
            Effect.fail(miss("PC01", `${origin.app} ${origin.id} at ${origin.host}:${origin.port}: ${detail}`, true))
          )
        )
      /** Another instance may do, so this one is not waited for until the replay's timeout. */
      const dialPlane = (origin: Origin) =>
        dial(origin).pipe(
          Effect.timeoutOrElse({
            duration: connectTimeout,
            orElse: () => Effect.fail(miss("PC01", `${origin.app} ${origin.id}: no connection in time`, true))
          })
        )
      const missed = (origin: Origin) =>
        wanted.preferInstance !== undefined && wanted.preferInstance !== origin.id ? wanted.preferInstance : undefined

      const plane = Effect.gen(function* () {
        const all = yield* Effect.map(options.planes, (list) => list.filter(({ id }) => id !== wanted.exclude))
        const named = wanted.instance === undefined ? all : all.filter(({ id }) => id === wanted.instance)
        if (named.length === 0) {
          return yield* wanted.instance === undefined
            ? miss("PR01", `no control plane (${options.routerApp}) is running`, false)
            : miss("PR02", `machine ${wanted.instance} not found in ${wanted.app}`, false)
        }
        const ordered = (yield* rotate(named)).toSorted(
          (a, b) => Number(b.id === wanted.preferInstance) - Number(a.id === wanted.preferInstance)
        )
        const dials = ordered.map(({ id, url }) => {
          const { hostname, port } = new URL(url)
          const host = hostname.replace(/^\[|\]$/g, "")
          return dialPlane({ app: options.routerApp, id, region: options.region, host, port: Number(port || 80) })
        })
        return yield* Effect.firstSuccessOf(dials).pipe(
          Effect.catchTag("Miss", ({ error }) =>
            Effect.fail(miss("PR01", `no control plane takes connections; last: ${error.message}`, false))
          )
        )
      })

      const machine = (target: LocalTarget): Effect.Effect<Reached, Miss | Upstream.Unsendable, Scope.Scope> =>
        Effect.gen(function* () {
          const name = `machine ${target.id}`
          if (sleeping(target)) {
            if (!target.autostart) return yield* miss("PM08", `${name} is ${target.state} and has autostart off`, false)
            if (target.leased) return yield* miss("PM01", `${name}: lease currently held`, true)
            yield* Ref.set(last, new EdgeError({ code: "PM03", detail: `${name} did not start in time` }))
            if (!(yield* autostart(target.id))) {
              failedStarts += 1
              return yield* miss("PM07", `${name} could not be started`, failedStarts < startAttempts)
            }
            const started = yield* machines.find(target.id)
            if (started === null) return yield* miss("PR02", `${name} not found`, false)
            return sleeping(started) ? yield* miss("PM07", `${name} did not stay up`, true) : yield* machine(started)
          }
          if (target.state !== "started" || target.port === null) {
            return yield* miss("PM08", `${name} is ${target.state}`, !dead.has(target.state))
          }
          return yield* dial({
            app: target.app,
            id: target.id,
            region: target.region,
            host: "127.0.0.1",
            port: target.port
          })
        })

      const exact = (id: string) =>
        Effect.flatMap(machines.find(id), (target) =>
          target === null || target.app !== wanted.app || target.id === wanted.exclude
            ? Effect.fail(miss("PR02", `machine ${id} not found in ${wanted.app}`, false))
            : machine(target)
        )
      const any = Effect.gen(function* () {
        const all = yield* Effect.map(machines.ofApp(wanted.app), (list) =>
          list.filter(({ id }) => id !== wanted.exclude)
        )
        const running = all.filter(({ state }) => state === "started")
        const startable = all.filter((target) => sleeping(target) && target.autostart)
        // Several are tried among those that run, but only one is started for a request.
        const candidates = [...(yield* rotate(running)), ...(yield* rotate(startable)).slice(0, 1)]
        if (candidates.length === 0) {
          const coming = all.some(({ state }) => transient.has(state))
          return yield* miss("PR03", `no machine of ${wanted.app} takes requests`, coming)
        }
        return yield* Effect.firstSuccessOf(candidates.map(machine))
      })
      const unreached = ({ again, error }: Miss) => {
        const exhausted = again || error.code === "PM07"
        return Effect.fail(new Unreached({ reason: exhausted ? "retries_exhausted" : "no_candidate", error }))
      }
      // One pass over the instances, each with its own limit.
      if (wanted.app === options.routerApp) return yield* Effect.catchTag(plane, "Miss", unreached)
      const { preferInstance } = wanted
      const attempt =
        wanted.instance !== undefined
          ? exact(wanted.instance)
          : preferInstance === undefined
            ? any
            : exact(preferInstance).pipe(Effect.catchTag("Miss", () => any))

      return yield* attempt.pipe(
        Effect.tapErrorTag("Miss", ({ error }) => Ref.set(last, error)),
        Effect.retry({
          times: retries,
          schedule: Schedule.spaced(retryEvery),
          while: (error) => error._tag === "Miss" && error.again
        }),
        Effect.catchTag("Miss", unreached),
        Effect.timeoutOrElse({
          duration: wanted.timeoutMs ?? defaultTimeoutMs,
          orElse: () =>
            Effect.flatMap(Ref.get(last), (error) => Effect.fail(new Unreached({ reason: "timeout", error })))
        })
      )
    })

  const wakeIfAsleep: Reach["wakeIfAsleep"] = ({ app, id }) =>
    app === options.routerApp
      ? Effect.void
      : Effect.flatMap(machines.find(id), (target) =>
          target !== null && target.state === "suspended" && target.autostart && !target.leased
            ? Effect.asVoid(autostart(id))
            : Effect.void
        )

  const exists: Reach["exists"] = (app) =>
    app === options.routerApp || options.apps.includes(app)
      ? Effect.succeed(true)
      : Effect.map(machines.ofApp(app), (list) => list.length > 0)

  return { exists, connect, wakeIfAsleep } satisfies Reach
})
