/** Seal, upload, read-back, commit, unseal, restore; and the objects' end. */
import type { Mutant } from "./Mutant.ts"

const program = "src/programs/lifecycle/Archive.ts"
const transitions = "src/domain/transitions/Archive.ts"
const server = "src/testing/machine/FakeServer.ts"

export const archiving: ReadonlyArray<Mutant> = [
  {
    name: "archive-without-read-back",
    invariant: "I3",
    focus: { r2Corrupt: 0.3, storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: program,
        find: `{ name: "verify", limitMs: transfer, run: verify }`,
        replace: `{ name: "verify", limitMs: transfer, run: Effect.succeed }`
      }
    ]
  },
  {
    name: "discard-before-commit",
    invariant: "I4",
    focus: { storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: transitions,
        find: "  return { written: { project: after, machines: [], archives: [], events }, machine }",
        replace:
          "  return { written: { project: after, machines: [released(machine, now)], archives: [], events }, machine }"
      }
    ]
  },
  {
    name: "archive-key-reused-over-attempts",
    invariant: "I10",
    focus: { storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: "src/domain/Archive.ts",
        find: '`projects/${uid}/${String(generation).padStart(10, "0")}-${suffix}.db`',
        replace: "`projects/${uid}/archive.db`"
      }
    ]
  },
  {
    name: "object-deleted-by-listing",
    invariant: "I3",
    focus: { storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: "src/programs/reconcile/Discard.ts",
        find: "    yield* r2.delete(row.r2Key)\n",
        replace: `    const folder = row.r2Key.slice(0, row.r2Key.lastIndexOf("/") + 1)
    for (const { key } of yield* r2.list(folder)) yield* r2.delete(key)
`
      }
    ]
  },
  {
    name: "unseal-sent-before-the-row-changed",
    invariant: "I3",
    or: ["I1", "I2", "I4"],
    focus: { r2Slow: 0.4, storms: 1, stormMinutes: 20 },
    // A request that finds an archive under way has the server opened at once, and then waits for the row.
    patches: [
      {
        file: "src/programs/lifecycle/EnsureActive.ts",
        find: `      case "Wait":
        break
`,
        replace: `      case "Wait": {
        if (view?.project.operation !== "archiving") break
        const { generation } = view.project
        yield* unseal({ ...view, project: { ...view.project, operation: "none", generation: generation + 1 } })
        break
      }
`
      }
    ]
  },
  {
    name: "sweep-ignores-recent-activity",
    invariant: "I10",
    patches: [
      {
        file: transitions,
        find: `  reached(project.nextAttemptAt, now) &&
  reached(project.lastActiveAt + idleThresholdMs(project.settings, idleMs), now)`,
        replace: "  reached(project.nextAttemptAt, now)"
      },
      {
        file: program,
        find: "idle_window_seconds: state.project.settings.dormancyThresholdSeconds ?? Math.floor(idleMs / 1_000)",
        replace: "idle_window_seconds: 0 * idleMs"
      }
    ]
  },
  {
    name: "dirty-project-restored-from-its-archive",
    invariant: "I2",
    or: ["I3"],
    focus: { hostLost: 0.5, storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: "src/domain/transitions/Rehost.ts",
        find: `    state: "active",
    generation: project.generation + 1,
    dataUnavailable: project.dataUnavailable || input.dataUnavailable`,
        replace: `    ...(input.dataUnavailable && archives.some((row) => row.status === "current")
      ? { state: "dormant", machine: null }
      : { state: "active", dataUnavailable: project.dataUnavailable || input.dataUnavailable }),
    generation: project.generation + 1`
      }
    ]
  },
  {
    name: "seal-does-not-seal",
    invariant: "I3",
    or: ["I1", "I2", "I4"],
    focus: { r2Slow: 0.4, storms: 1, stormMinutes: 20 },
    patches: [{ file: server, find: "  volume.sealedBy = generation\n", replace: "" }]
  },
  {
    name: "seal-kept-in-memory-only",
    invariant: "I3",
    or: ["I1", "I2", "I4"],
    focus: { machineCrashAtCall: 0.4, r2Slow: 0.4, straight: 0.2, storms: 1, stormMinutes: 20 },
    patches: [
      {
        file: "src/testing/machine/FakeMachines.ts",
        find: "    memories.set(machineId, memory)\n",
        replace:
          "    memories.set(machineId, memory)\n    if (memory !== known) volumeOf(host.volumeId).sealedBy = null\n"
      }
    ]
  },
  {
    name: "machine-ignores-generation",
    invariant: "I1",
    or: ["I2", "I3", "I4"],
    focus: { machineLate: 0.4, r2Slow: 0.2, straight: 0.3, storms: 1, stormMinutes: 10 },
    patches: [
      {
        file: server,
        find: "if (foreign || generation < volume.newestGeneration) return stale(server)",
        replace: "if (foreign) return stale(server)"
      },
      {
        file: server,
        find: "if (!known || generation < volume.newestGeneration || generation <= volume.unsealedBy) return stale(server)",
        replace: "if (!known) return stale(server)"
      },
      {
        file: server,
        find: "if (volume.project?.uid !== project_uid || generation < volume.newestGeneration || sealedByIt) return stale(server)",
        replace: "if (volume.project?.uid !== project_uid) return stale(server)"
      },
      {
        file: server,
        find: "if (!(yield* alive) || volume.newestGeneration !== generation) return stale(server)\n  // 412",
        replace: "if (!(yield* alive)) return stale(server)\n  // 412"
      }
    ]
  },
  {
    name: "second-restore-after-ready",
    invariant: "I2",
    or: ["I3", "I4"],
    focus: { machineLate: 0.5, storms: 1, stormMinutes: 15 },
    patches: [
      {
        file: server,
        find: "if (!volume.ready && request.restore !== undefined) {",
        replace: "if (request.restore !== undefined) {\n    if (volume.ready) memory.transfer = null"
      },
      {
        file: server,
        find: "volume.newestGeneration !== generation || volume.ready) return stale(server)",
        replace: "volume.newestGeneration !== generation) return stale(server)"
      }
    ]
  }
]
