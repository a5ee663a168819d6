/** Locks, leases, generations, commits. */
import type { Mutant } from "./Mutant.ts"

const wakes = "src/domain/transitions/Wake.ts"
const archives = "src/domain/transitions/Archive.ts"
const rows = "src/domain/transitions/Rows.ts"

export const ownership: ReadonlyArray<Mutant> = [
  {
    name: "lock-always-grants",
    invariant: "I11",
    patches: [
      {
        file: "src/testing/memory/MemorySessions.ts",
        find: "    if (this.#held.has(key)",
        replace: "    if (false && this.#held.has(key)"
      }
    ]
  },
  {
    name: "commit-ignores-generation",
    invariant: "I3",
    focus: { instancePause: 0.3, storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: archives,
        find: `  if (!holds(project, input.lease) || project.operation !== "archiving") return null
  const upload =`,
        replace: "  const upload ="
      },
      {
        file: archives,
        find: `if (upload?.status !== "uploading" || upload.generation !== project.generation) return null`,
        replace: "if (upload === undefined) return null"
      }
    ]
  },
  {
    name: "lease-never-expires",
    invariant: "I6",
    focus: { instanceCrash: 0.05 },
    patches: [
      {
        file: rows,
        find: `  project.operation !== "none" && reached(project.leaseUntil, now)`,
        replace: `  project.operation === "deleting" && reached(project.leaseUntil, now)`
      }
    ]
  },
  {
    name: "recovery-forgets-its-machine",
    invariant: "I7",
    focus: { instanceCrash: 0.05 },
    patches: [
      {
        file: rows,
        find: "  machines: heldBeside(rows).map((row) => discarded(row, now)),\n  archives: uploadsDiscarded(rows.archives),",
        replace: "  machines: [],\n  archives: uploadsDiscarded(rows.archives),"
      },
      {
        file: wakes,
        find: "  const beside = heldBeside(rows).filter((other) => other.name !== machine)\n",
        replace: "  const beside: ReadonlyArray<MachineRow> = []\n"
      },
      {
        file: "src/programs/reconcile/Expired.ts",
        find: "(yield* machines.discardUnnamed(perPass)) + (yield* machines.discardAbandoned(abandonedMs, perPass))",
        replace: "0 * abandonedMs"
      }
    ]
  },
  {
    name: "unknown-outcome-taken-for-success",
    invariant: "I2",
    // It never answers, and it can't be archived either.
    or: ["I10"],
    focus: { machineUnreachable: 0.3, storms: 1, stormMinutes: 20 },
    // A pool machine that did not say that it is configured is committed all the same.
    patches: [
      {
        file: "src/programs/lifecycle/BringUp.ts",
        find: `    const reason = result === null ? "its volume is too small for the archive" : result.failure.message`,
        replace: `    if (result !== null && result.failure._tag === "MachineError" && result.failure.reason._tag === "Unreachable") {
      return { ...state, machine: claimed, configured: true }
    }
    const reason = result === null ? "its volume is too small for the archive" : result.failure.message`
      }
    ]
  },
  {
    name: "unknown-outcome-taken-for-failure",
    invariant: "I8",
    focus: { machineUnreachableAfter: 0.3 },
    // A pool machine that did not say that it is configured goes back for the next one.
    patches: [
      {
        file: "src/testing/memory/MemoryMachines.ts",
        find: "Ledger.isHeldBy(row, project) ? { ...discarded(row, now), lastError: reason } : null",
        replace: `Ledger.isHeldBy(row, project) ? { ...row, status: "ready", lastError: reason } : null`
      }
    ]
  },
  {
    name: "rate-limit-per-instance",
    invariant: "I12",
    focus: { burstMinutes: 20 },
    patches: [
      {
        file: "src/testing/memory/MemoryProjects.ts",
        find: "    const run = yield* runner(database)\n",
        replace:
          "    const run = yield* runner(database)\n    const ofThisInstance = new Map<string, ReadonlyArray<number>>()\n"
      },
      {
        file: "src/testing/memory/MemoryProjects.ts",
        find: "tables.accepted.get(limit.client)",
        replace: "ofThisInstance.get(limit.client)"
      },
      {
        file: "src/testing/memory/MemoryProjects.ts",
        find: "tables.accepted.set(limit.client,",
        replace: "ofThisInstance.set(limit.client,"
      }
    ]
  },
  {
    name: "wake-restores-an-older-archive",
    invariant: "I2",
    or: ["I3"],
    focus: { storms: 1, stormMinutes: 15 },
    patches: [
      {
        file: "src/testing/memory/MemoryProjects.ts",
        find: `archive: tables.archivesOf(written.project.uid).find((row) => row.status === "current") ?? null`,
        replace: `archive: tables.archivesOf(written.project.uid).find((row) => row.r2Checksum !== null) ?? null`
      }
    ]
  }
]
