/**
 * Fly's proxy as a request meets it: to a live instance of the router first, and wherever its `fly-replay` says from
 * there; machines that sleep are started, one that can't be reached in time gives the request back. What a client is
 * told is told here.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { staleHeader } from "../../contract/FlyReplay.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { Replay } from "../../local/edge/Replay.ts"
import { parseHeader } from "../../local/edge/Replay.ts"
import type { MachineState } from "../../local/fly/model/FlyState.ts"
import { startMachine } from "../../local/fly/model/Machines.ts"
import { defaultApp } from "../fly/FlyMemory.ts"
import type { Instance, Reply, Request } from "./Instance.ts"
import type { World } from "./World.ts"

export interface DocumentRequest {
  readonly projectId: ProjectId
  readonly document: string
  /** Absent: read. */
  readonly write?: string
  readonly userAgent?: string
}

export type Outcome =
  | {
      readonly _tag: "Acknowledged"
      readonly machineId: string
      readonly projectUid: string
      readonly value: string | null
    }
  /** Refused or not found: it did not happen. */
  | { readonly _tag: "Refused"; readonly status: number }
  /** The connection broke. It may have happened, and will not happen later. */
  | { readonly _tag: "Broken" }

/** Fly gives a request up after so many hops. */
const hops = 10
const defaultTimeoutMs = 30_000
const retryEveryMs = 100
const sleeping: ReadonlySet<MachineState> = new Set(["stopped", "suspended"])
const dead: ReadonlySet<MachineState> = new Set(["destroyed", "destroying", "failed"])

type Delivered = Outcome | { readonly _tag: "SentBack"; readonly routerApp: string | null }
type Unreached = { readonly _tag: "Unreached"; readonly reason: "timeout" | "no_candidate" }

export const make = (world: World, instances: () => ReadonlyArray<Instance>) => {
  const { dice, fly, journal, machines } = world

  /** To the plane alone, as the API is asked. Null: the connection broke. */
  const ask = (request: Request, prefer?: Instance): Effect.Effect<Reply | null> =>
    Effect.gen(function* () {
      const ready = instances().filter((instance) => instance.accepts())
      const chosen = prefer?.accepts() === true ? prefer : dice.pick(ready)
      yield* Effect.sleep(dice.between(1, 15))
      if (chosen === undefined) return { status: 502, headers: {}, body: "" }
      const reply = yield* chosen.handle(request)
      return reply
    })

  const start = (machineId: string) =>
    fly.apply(startMachine(defaultApp, machineId, undefined, "proxy")).pipe(Effect.ignore)

  /** One try to deliver; null: not now. */
  const attempt = (machineId: string, request: DocumentRequest): Effect.Effect<Delivered | Unreached | null> =>
    Effect.gen(function* () {
      const state = yield* fly.state
      const machine = state.machines[machineId]
      if (machine === undefined || dead.has(machine.state)) return { _tag: "Unreached", reason: "no_candidate" }
      if (state.unreachableHosts.includes(machine.host)) return null
      if (sleeping.has(machine.state)) yield* start(machineId)
      if (machine.state !== "started") return null
      const answer = yield* machines.request({
        machineId,
        projectId: request.projectId,
        document: request.document,
        ...(request.write === undefined ? {} : { write: request.write })
      })
      if (answer._tag === "Silent") return null
      if (answer._tag === "SentBack") return answer
      if (dice.chance(world.rates.edgeAnswerLost)) {
        journal.count("fault edge answer_lost")
        return { _tag: "Broken" }
      }
      return { _tag: "Acknowledged", machineId, projectUid: answer.projectUid, value: answer.value }
    })

  /** Past the router, to a machine that the client remembers or was given wrongly. */
  const straight = (machineId: string, request: DocumentRequest): Effect.Effect<Outcome> =>
    Effect.gen(function* () {
      yield* Effect.sleep(dice.between(1, 30))
      const machine = (yield* fly.state).machines[machineId]
      const delivered = machine?.state === "started" ? yield* attempt(machineId, request) : null
      return delivered?._tag === "Acknowledged" || delivered?._tag === "Broken"
        ? delivered
        : { _tag: "Refused", status: 502 }
    })

  const deliver = (replay: Replay, request: DocumentRequest) =>
    Effect.gen(function* () {
      yield* Effect.sleep(dice.between(1, 15))
      if (dice.chance(world.rates.edgeSlowHop)) {
        journal.count("fault edge slow_hop")
        yield* Effect.sleep(Math.round(dice.magnitude(100, 9_000)))
      }
      const machineId = replay.instance ?? ""
      for (;;) {
        const delivered = yield* attempt(machineId, request)
        if (delivered !== null) return delivered
        yield* Effect.sleep(retryEveryMs)
      }
    }).pipe(
      Effect.timeoutOption(replay.timeoutMs ?? defaultTimeoutMs),
      Effect.map(Option.getOrElse((): Delivered | Unreached => ({ _tag: "Unreached", reason: "timeout" })))
    )

  const domain = world.config.router.domain ?? ""

  /** `first`: the instance that the request comes to first. */
  const send = (request: DocumentRequest, first?: Instance): Effect.Effect<Outcome> =>
    Effect.gen(function* () {
      const base: Request = {
        method: request.write === undefined ? "GET" : "PUT",
        path: `/${request.document}`,
        headers: {
          host: `${request.projectId}.${domain}`,
          "user-agent": request.userAgent ?? "client",
          "fly-client-ip": "192.0.2.1"
        }
      }
      let extra: Readonly<Record<string, string>> = {}
      for (let hop = 0; hop < hops; hop += 2) {
        const reply = yield* ask({ ...base, headers: { ...base.headers, ...extra } }, hop === 0 ? first : undefined)
        if (reply === null) return { _tag: "Refused", status: 502 }
        const instruction = reply.headers["fly-replay"]
        if (instruction === undefined) return { _tag: "Refused", status: reply.status }
        const replay = parseHeader(instruction)
        if (Result.isFailure(replay)) {
          journal.violate("I5", `the edge can't read fly-replay: ${instruction}`, request.projectId)
          return { _tag: "Refused", status: 502 }
        }
        if (extra["fly-replay-failed"] !== undefined) {
          journal.violate("I5", "a request that Fly gave back was replayed again", request.projectId)
        }
        const delivered = yield* deliver(replay.success, request)
        const src = `instance=${replay.success.instance ?? ""};region=sjc;t=0`
        if (delivered._tag === "SentBack") {
          journal.count("edge sent_back")
          if (delivered.routerApp === null) return { _tag: "Refused", status: 502 }
          const back = parseHeader(staleHeader(delivered.routerApp))
          const state = Result.isSuccess(back) ? back.success.state : ""
          extra = { "fly-replay-src": `${src};state=${state}` }
        } else if (delivered._tag === "Unreached") {
          journal.count(`edge ${delivered.reason}`)
          if (replay.success.fallback === undefined) return { _tag: "Refused", status: 502 }
          extra = { "fly-replay-src": src, "fly-replay-failed": delivered.reason }
        } else return delivered
      }
      return { _tag: "Refused", status: 508 }
    })

  return { ask, send, straight, routers: instances }
}

export type Edge = ReturnType<typeof make>
