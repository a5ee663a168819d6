/**
 * What goes wrong when, drawn from the seed alone: the same seed gives the same schedule. Whom it hits and what they are
 * doing just then is up to real time.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { FaultRule } from "../../src/local/fly/model/Faults.ts"
import type { Faults } from "../../src/local/s3/S3Fault.ts"

/** `pick` (0–1) chooses among those that are there. */
export type Calamity =
  | { readonly kind: "plane_killed"; readonly pick: number }
  | { readonly kind: "plane_paused"; readonly pick: number; readonly ms: number }
  | { readonly kind: "sessions_terminated"; readonly share: number }
  | { readonly kind: "postgres_killed"; readonly signal: "SIGQUIT" | "SIGKILL" }
  | { readonly kind: "machine_killed"; readonly pick: number }
  | { readonly kind: "machine_paused"; readonly pick: number; readonly ms: number }
  /** Its host is gone, its volume is kept. */
  | { readonly kind: "machine_lost"; readonly pick: number }
  | { readonly kind: "fly_faulty"; readonly rules: ReadonlyArray<FaultRule>; readonly ms: number }
  | { readonly kind: "storage_faulty"; readonly faults: Faults; readonly ms: number }
  | { readonly kind: "edge_dropped"; readonly share: number }

export const kinds = [
  "plane_killed",
  "plane_paused",
  "sessions_terminated",
  "postgres_killed",
  "machine_killed",
  "machine_paused",
  "machine_lost",
  "fly_faulty",
  "storage_faulty",
  "edge_dropped"
] as const satisfies ReadonlyArray<Calamity["kind"]>

export interface Scheduled {
  readonly atMs: number
  readonly calamity: Calamity
}

const between = (from: number, to: number) => Random.nextIntBetween(from, to)

const everyRule = Effect.gen(function* (): Effect.fn.Return<ReadonlyArray<FaultRule>> {
  const rule = (probability: number, fault: FaultRule["fault"]): FaultRule => ({ match: { probability }, fault })
  return [
    rule(0.4, { kind: "error", status: 503, effect: "before" }),
    rule(0.3, { kind: "error", status: 500, effect: "after" }),
    rule(0.6, { kind: "latency", ms: yield* between(500, 4_000) }),
    rule(0.3, { kind: "rate_limit", retry_after_seconds: 1 }),
    rule(0.3, { kind: "timeout", effect: "after" }),
    rule(0.3, { kind: "drop", effect: "before" }),
    rule(0.3, { kind: "drop", effect: "after" }),
    // Below every margin after which what was begun counts as abandoned.
    rule(0.2, { kind: "late", ms: yield* between(1_000, 5_000) }),
    { match: { operation: "createMachine", probability: 0.6 }, fault: { kind: "capacity", status: 409 } },
    { match: { operation: "listMachines", probability: 0.5 }, fault: { kind: "empty_list" } },
    { match: { operation: "listVolumes", probability: 0.5 }, fault: { kind: "empty_list" } }
  ]
})

const everyStorageFault = Effect.gen(function* (): Effect.fn.Return<ReadonlyArray<Faults>> {
  const late = { share: 0.5, ms: yield* between(1_000, 7_000) }
  return [{ fail: 0.6 }, { lose: 0.5 }, { shorten: 0.5 }, { cut: 0.6 }, { late }, { fail: 0.3, shorten: 0.3, cut: 0.3 }]
})

const draw = (kind: Calamity["kind"]): Effect.Effect<Calamity> =>
  Effect.gen(function* () {
    switch (kind) {
      case "plane_killed":
      case "machine_killed":
      case "machine_lost":
        return { kind, pick: yield* Random.next }
      case "plane_paused":
        // Some longer than a lease (10 s): its owner comes back late.
        return { kind, pick: yield* Random.next, ms: yield* between(2_000, 14_000) }
      case "machine_paused":
        return { kind, pick: yield* Random.next, ms: yield* between(1_000, 8_000) }
      case "sessions_terminated":
        return { kind, share: (yield* Random.nextBoolean) ? 1 : 0.4 }
      case "postgres_killed":
        return { kind, signal: (yield* Random.nextBoolean) ? "SIGQUIT" : "SIGKILL" }
      case "fly_faulty": {
        const rules = yield* Random.shuffle(yield* everyRule)
        return { kind, rules: rules.slice(0, yield* between(1, 4)), ms: yield* between(3_000, 9_000) }
      }
      case "storage_faulty": {
        const [faults = {}] = yield* Random.shuffle(yield* everyStorageFault)
        return { kind, faults, ms: yield* between(3_000, 9_000) }
      }
      case "edge_dropped":
        return { kind, share: yield* Random.next }
    }
  })

/** Rounds in which each kind comes once, in an order of its own; `gapMs` apart on average. */
export const schedule = (seed: number, forMs: number, gapMs: number): Effect.Effect<ReadonlyArray<Scheduled>> =>
  Effect.gen(function* () {
    const all: Array<Scheduled> = []
    let atMs = gapMs
    for (;;) {
      for (const kind of yield* Random.shuffle(kinds)) {
        if (atMs >= forMs) return all
        all.push({ atMs, calamity: yield* draw(kind) })
        atMs += Math.round(gapMs * (0.4 + 1.2 * (yield* Random.next)))
      }
    }
  }).pipe(Random.withSeed(`chaos ${seed}`))
