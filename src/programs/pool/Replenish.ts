/**
 * The warm pool: started machines with an empty volume that belong to nobody yet, so that a wake is a claim. A pass
 * drops what is gone, asleep or of another image, then fills each region to the target. Rows are taken out by
 * compare-and-set and go to the bin; a leftover of a pass that died is discarded, never adopted.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import { Machines } from "../../services/db/Machines.ts"
import type { FlyMachine } from "../../services/fly/Fly.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { FlyError } from "../../services/fly/FlyError.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { Signals } from "../background/Signals.ts"
import { coldAnswerMs } from "../lifecycle/limits.ts"
import { brief } from "../lifecycle/Steps.ts"
import { newMachine, provision } from "../lifecycle/Provision.ts"

/** One pass of this instance makes a machine in half a minute; ten minutes old is a leftover of a pass that died. */
const leftoverMs = 10 * 60_000
/** Fly creates one machine a second for an app, and each takes some seconds to start: so many are under way at once. */
const concurrency = 10

/** Looked at one by one: a listing that misses a machine does not prove that it is gone. */
const look = (row: MachineRow) =>
  Effect.gen(function* () {
    if (row.machineId === null) return null
    return yield* (yield* Fly)
      .getMachine(row.machineId)
      .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
  })

const unfit = (row: MachineRow, machine: FlyMachine | null, image: string, idleSuspend: "self" | "fly") => {
  if (row.image !== image) return "another image is configured"
  if (machine === null) return "gone at Fly"
  if (machine.hostStatus === "unreachable") return "its host is unreachable"
  // With autostop at Fly a pool machine may be put to sleep; a claim starts it.
  const asleep = idleSuspend === "fly" && (machine.state === "suspended" || machine.state === "stopped")
  if (machine.state !== "started" && machine.state !== "starting" && !asleep) return `is ${machine.state}`
  return null
}

const drop = (row: MachineRow, reason: string) =>
  Effect.gen(function* () {
    const dropped = yield* (yield* Machines).discard({ name: row.name, from: ["ready", "provisioning"], reason })
    if (dropped) yield* Effect.logInfo("pool machine dropped", { machine: row.name, reason })
    return dropped
  })

const notMade = "not made: "
/** Wakes had the budget, and nothing was sent: that says nothing of what Fly would have made of it. */
const noTurn = "no turn: "

const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  const refused = error instanceof FlyError && error.reason._tag === "RateLimited" && error.reason.by === "budget"
  return `${refused ? noTurn : notMade}${brief(cause)}`
}

const fill = (region: string) =>
  Effect.gen(function* () {
    const { fly: config } = yield* PlaneConfig
    const machines = yield* Machines
    const client = yield* MachineClient
    const fresh = yield* newMachine(region)
    if (!(yield* machines.insertPool(fresh, config.maxMachines))) {
      return yield* Effect.logWarning("pool not filled: VALET_MAX_MACHINES is reached")
    }
    const row = yield* machines.find(fresh.name)
    if (row === null) return
    yield* provision(row).pipe(
      Effect.flatMap((made) => client.health(made, { limitMs: coldAnswerMs })),
      Effect.andThen(machines.markReady(fresh.name)),
      Effect.onError((cause) =>
        machines.discard({ name: fresh.name, from: ["provisioning"], reason: reasonOf(cause) }).pipe(Effect.ignore)
      )
    )
  })

/** The last tries failed: what each leaves in the ledger for a while tells every instance how often, and when. */
export class PoolBacksOff extends Schema.TaggedError<PoolBacksOff>()("PoolBacksOff", {
  region: Schema.String,
  lastError: Schema.String,
  retryAfterMs: Schema.Int
}) {
  override get message() {
    return `pool in ${this.region}: next try in ${Math.ceil(this.retryAfterMs / 1_000)} s: ${this.lastError}`
  }
  get retryable(): boolean {
    return true
  }
}

const shortestMs = 5_000
const waitMs = (failures: number): number => Math.min(shortestMs * 2 ** (failures - 1), 5 * 60_000)

/** What one pass tries at once counts as one. In the order in which they were tried. */
const triesOf = (failed: ReadonlyArray<MachineRow>): number =>
  failed.filter((row, at) => row.createdAt >= (failed[at - 1]?.createdAt ?? Number.NEGATIVE_INFINITY) + shortestMs)
    .length

/** Makes so many machines; after failures not too soon, and then one before the others. Returns how many it made. */
const fillRegion = (region: string, missing: number, failed: ReadonlyArray<MachineRow>) =>
  Effect.gen(function* () {
    const last = failed.at(-1)
    let made = 0
    if (last !== undefined) {
      const retryAfterMs = last.createdAt + waitMs(triesOf(failed)) - (yield* Clock.currentTimeMillis)
      if (retryAfterMs > 0) {
        return yield* new PoolBacksOff({
          region,
          lastError: last.lastError ?? "",
          retryAfterMs: Math.ceil(retryAfterMs)
        })
      }
      yield* fill(region)
      made = 1
    }
    const others = Array.from({ length: missing - made }, () => region)
    const results = yield* Effect.forEach(others, (there) => Effect.result(fill(there)), { concurrency })
    const failure = results.find((result) => result._tag === "Failure")
    return failure === undefined ? missing : yield* failure.failure
  })

export interface PoolPass {
  readonly dropped: number
  readonly filled: number
}

export const replenishPool = Effect.gen(function* () {
  const config = yield* PlaneConfig
  const machines = yield* Machines
  const signals = yield* Signals
  const now = yield* Clock.currentTimeMillis
  const rows = yield* machines.pool
  const kept: Array<MachineRow> = []
  let dropped = 0
  // Provisioning rows are a live pass of another instance only if it lost its lock a moment ago: they get their time.
  for (const row of rows) {
    if (row.status === "provisioning" && now - row.createdAt < leftoverMs) {
      kept.push(row)
      continue
    }
    const reason =
      row.status === "provisioning"
        ? "left over by a pass that died"
        : unfit(row, yield* look(row), config.fly.image, config.fly.idleSuspend)
    if (reason === null) kept.push(row)
    else if (yield* drop(row, reason)) dropped += 1
  }
  for (const region of config.fly.regions) {
    const there = kept.filter((row) => row.region === region).toSorted((a, b) => a.createdAt - b.createdAt)
    for (const row of there.slice(config.pool.size)) {
      if (row.status === "ready" && (yield* drop(row, "the pool's target is smaller now"))) dropped += 1
    }
  }
  if (dropped > 0) yield* signals.poke("discard")
  const here = (region: string) => (row: MachineRow) => row.region === region
  const wanted = config.fly.regions
    .map((region) => ({ region, missing: config.pool.size - kept.filter(here(region)).length }))
    .filter(({ missing }) => missing > 0)
  const failed = (wanted.length === 0 ? [] : yield* machines.living).filter(
    (row) => row.status === "discarded" && row.project === null && row.lastError?.startsWith(notMade) === true
  )
  const results = yield* Effect.forEach(
    wanted,
    ({ region, missing }) => Effect.result(fillRegion(region, missing, failed.filter(here(region)))),
    { concurrency }
  )
  const failure = results.find((result) => result._tag === "Failure")
  if (failure !== undefined) {
    yield* signals.poke("discard")
    // The pass failed as far as the status page is concerned; the next one is the retry.
    return yield* failure.failure
  }
  const filled = results.reduce((sum, result) => sum + (result._tag === "Success" ? result.success : 0), 0)
  return { dropped, filled } satisfies PoolPass
}).pipe(Effect.withSpan("replenishPool"))
