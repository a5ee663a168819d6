/** Pool, bin, reaper: what is made at Fly, handed out and deleted. */
import type { Mutant } from "./Mutant.ts"

const discard = "src/programs/reconcile/Discard.ts"
const replenish = "src/programs/pool/Replenish.ts"
const wakes = "src/domain/transitions/Wake.ts"
const ledger = "src/domain/transitions/Ledger.ts"

export const machines: ReadonlyArray<Mutant> = [
  {
    name: "double-claim",
    invariant: "I8",
    patches: [
      {
        file: wakes,
        find: `if (row.status !== "ready" || row.image !== claim.image`,
        replace: `if ((row.status !== "ready" && row.status !== "assigned") || row.image !== claim.image`
      }
    ]
  },
  {
    name: "configured-machine-returned-to-the-pool",
    invariant: "I8",
    focus: { machineRestoreFails: 0.3, storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: wakes,
        find: `const fallAsleep = (rows: ProjectRows, now: number): ReadonlyArray<MachineRow> =>
  heldBeside(rows).map((row) => discarded(row, now))`,
        replace: `const fallAsleep = (rows: ProjectRows, _now: number): ReadonlyArray<MachineRow> =>
  heldBeside(rows).map((row) => ({ ...row, status: "ready" as const }))`
      }
    ]
  },
  {
    name: "pool-adopts-a-row-with-a-project",
    invariant: "I8",
    patches: [
      {
        file: ledger,
        find: `  row.status === "provisioning" && row.project === null && row.machineId !== null && row.volumeId !== null
    ?`,
        replace: "  row.machineId !== null && row.volumeId !== null\n    ?"
      },
      {
        file: replenish,
        find: "    const fresh = yield* newMachine(region)\n",
        replace: `    const left = (yield* machines.living).find(
      (row) => row.status === "discarded" && row.project !== null && row.machineId !== null && row.volumeId !== null
    )
    if (left !== undefined) return yield* Effect.asVoid(machines.markReady(left.name))
    const fresh = yield* newMachine(region)
`
      }
    ]
  },
  {
    name: "pool-never-refilled",
    invariant: "I9",
    patches: [
      {
        file: replenish,
        find: "    .filter(({ missing }) => missing > 0)\n",
        replace: "    .filter(({ missing }) => missing > 0 && missing === config.pool.size)\n"
      }
    ]
  },
  {
    name: "pool-trusts-an-empty-listing",
    invariant: "I11",
    focus: { flyEmptyList: 0.4 },
    patches: [
      {
        file: replenish,
        find: "  const rows = yield* machines.pool\n",
        replace: "  const rows = yield* machines.pool\n  const listed = yield* (yield* Fly).listMachines\n"
      },
      {
        file: replenish,
        find: "unfit(row, yield* look(row), config.fly.image",
        replace: "unfit(row, listed.find(({ id }) => id === row.machineId) ?? null, config.fly.image"
      }
    ]
  },
  {
    name: "reaper-trusts-an-empty-list",
    invariant: "I11",
    focus: { flyEmptyList: 0.4 },
    // What the ledger knows and the list lacks is taken for gone.
    patches: [
      {
        file: "src/programs/reconcile/Reap.ts",
        find: "  if (listed.length === 0 || partial) {\n",
        replace: `  for (const row of known) {
    if (seen.includes(row)) continue
    yield* machines.discard({ name: row.name, from: ["ready", "assigned"], reason: "not listed" })
  }
  if (listed.length === 0 || partial) {
`
      }
    ]
  },
  {
    name: "bin-trusts-an-empty-listing",
    invariant: "I7",
    focus: { flyEmptyList: 0.8, flyErrorAfter: 0.3, flyTimeoutAfter: 0.2 },
    patches: [
      {
        file: discard,
        find: "  if (plausible && (absent",
        replace: "  if ((absent"
      }
    ]
  },
  {
    name: "bin-forgets-a-row-without-ids",
    invariant: "I7",
    focus: { flyEmptyList: 0.4, flyErrorAfter: 0.3, flyTimeoutAfter: 0.2 },
    patches: [
      {
        file: ledger,
        find: `  ((deletions.machine && deletions.volume) ||
    (row.absentLooks >= absence.minLooks && reached(row.updatedAt + absentMs, now)))`,
        replace: "  (deletions.machine === deletions.volume || absentMs + now > 0)"
      }
    ]
  },
  {
    name: "volume-before-machine",
    invariant: "I7",
    patches: [
      {
        file: discard,
        find: '    for (const id of ids) yield* destroyMachine(id)\n    if (row.machineId !== null) yield* machines.recordGone(row.name, "machine")\n',
        replace: ""
      },
      {
        file: discard,
        find: `    if (row.volumeId !== null) yield* machines.recordGone(row.name, "volume")\n`,
        replace: `    if (row.volumeId !== null) yield* machines.recordGone(row.name, "volume")
    for (const id of ids) yield* destroyMachine(id)
    if (row.machineId !== null) yield* machines.recordGone(row.name, "machine")
`
      }
    ]
  },
  {
    name: "unconfirmed-deletion-taken-for-done",
    invariant: "I7",
    patches: [
      {
        file: discard,
        find: `    yield* fly.deleteMachine(machineId)
    yield* fly.waitForState(machineId, "destroyed", destroyedWithinMs)
`,
        replace: "    yield* Effect.ignore(fly.deleteMachine(machineId))\n"
      },
      {
        file: discard,
        find: "Effect.forEach(volumes, destroyVolume(listing), {",
        replace: "Effect.forEach(volumes, (id) => Effect.ignore(destroyVolume(listing)(id)), {"
      }
    ]
  },
  {
    name: "moved-volume-is-not-followed",
    invariant: "I2",
    or: ["I7"],
    focus: { migration: 0.3, machineLost: 0.3 },
    patches: [
      {
        file: "src/programs/lifecycle/Rehost.ts",
        find: "  if (newest === undefined) return row\n",
        replace: "  if (newest === undefined || true) return row\n"
      }
    ]
  },
  {
    name: "volume-gone-by-itself-taken-for-deleted",
    invariant: "I7",
    focus: { migration: 0.2, flySlow: 0.3, flyEmptyList: 0.3 },
    patches: [
      {
        file: discard,
        find: "  if (!since && volumes.length > 0) return Effect.void",
        replace: "  if (!since || volumes.length > 0) return Effect.void"
      }
    ]
  }
]
