/** Moments to the millisecond, which the stores' contract can't ask of a live database. */
import { assert, describe, it } from "@effect/vitest"
import { MachineName, volumeMayGo } from "../../src/domain/Machine.ts"
import { holds, leaseOf, type Project } from "../../src/domain/Project.ts"
import { ProjectId } from "../../src/domain/ProjectId.ts"
import { abortArchive, beginArchive, commitArchive, isIdle, startUpload } from "../../src/domain/transitions/Archive.ts"
import { beginDelete } from "../../src/domain/transitions/Delete.ts"
import { absence, mayBeGone, noDeletions, provisioning } from "../../src/domain/transitions/Ledger.ts"
import { raiseGeneration } from "../../src/domain/transitions/Lease.ts"
import { beginRehost } from "../../src/domain/transitions/Rehost.ts"
import { discarded, leaseExpired, type ProjectRows, type Written } from "../../src/domain/transitions/Rows.ts"
import { beginWake, commitActive, create, expireWake, oldestReady } from "../../src/domain/transitions/Wake.ts"

const leaseMs = 10_000
const machine = MachineName.make("m1")

const must = <A>(value: A | null): A => {
  if (value === null) throw new Error("refused")
  return value
}

/** The rows as they are after a transition. */
const apply = (rows: ProjectRows, written: Written): ProjectRows => ({
  project: written.project,
  machines: [
    ...rows.machines.filter(({ name }) => !written.machines.some((row) => row.name === name)),
    ...written.machines
  ],
  archives: [
    ...rows.archives.filter(({ r2Key }) => !written.archives.some((row) => row.r2Key === r2Key)),
    ...written.archives
  ]
})

const created = create(
  {
    projectId: ProjectId.make("red"),
    uid: "uid",
    region: "ams",
    deployKey: { sealed: "s", keyId: "k" },
    idleTimeoutSeconds: null,
    operationId: "create",
    leaseMs
  },
  null,
  0
)
const creating: ProjectRows = { project: created.project, machines: [], archives: [] }

const active: ProjectRows = (() => {
  const lease = leaseOf(creating.project)
  const made = provisioning({ name: machine, region: "ams", image: "i", volumeSizeGb: 1, keyId: "k" }, lease, 0)
  const rows = { ...creating, machines: [{ ...made, machineId: "m", volumeId: "v" }] }
  return apply(rows, must(commitActive(rows, { lease, machine }, 0)))
})()

const begin = { operationId: "next", leaseMs }
const archiveInput = { ...begin, idleMs: 1000, force: false }

describe("a lease", () => {
  it("has expired at its last millisecond, not before", () => {
    assert.isFalse(leaseExpired(creating.project, leaseMs - 1))
    assert.isTrue(leaseExpired(creating.project, leaseMs))
    assert.isNull(beginWake(creating, begin, null, leaseMs - 1))
    assert.isNull(expireWake(creating, leaseMs - 1))
    assert.isNull(beginDelete(creating, { ...begin, force: false }, leaseMs - 1))
    for (const written of [
      beginWake(creating, begin, null, leaseMs),
      expireWake(creating, leaseMs),
      beginDelete(creating, { ...begin, force: false }, leaseMs)
    ]) {
      assert.strictEqual(written?.project.generation, 2)
    }
  })

  it("is held by operation and generation, while an operation runs", () => {
    const lease = leaseOf(creating.project)
    assert.isTrue(holds(creating.project, lease))
    assert.isFalse(holds(creating.project, { ...lease, generation: 2 }))
    assert.isFalse(holds(active.project, leaseOf(active.project)))
  })

  it("goes on above what a machine has seen, and never below itself", () => {
    const lease = leaseOf(creating.project)
    const generations = [-1, 0, 1, 2, 9].map((newest) => raiseGeneration(creating, lease, newest)?.project.generation)
    assert.deepStrictEqual(generations, [1, 1, 2, 3, 10])
  })
})

describe("idle", () => {
  const idleAt = (project: Project, now: number) => isIdle(project, 1000, now)

  it("is reached at the threshold's last millisecond", () => {
    assert.isFalse(idleAt(active.project, 999))
    assert.isTrue(idleAt(active.project, 1000))
    const own = { ...active.project, settings: { ...active.project.settings, dormancyThresholdSeconds: 5 } }
    assert.isFalse(idleAt(own, 4999))
    assert.isTrue(idleAt(own, 5000))
  })

  it("is what beginArchive asks for", () => {
    assert.isNull(beginArchive(active, archiveInput, 999))
    assert.isNotNull(beginArchive(active, archiveInput, 1000))
  })

  it("waits for the next attempt to its last millisecond", () => {
    const failing = { ...active.project, nextAttemptAt: 5000 }
    assert.isFalse(idleAt(failing, 4999))
    assert.isTrue(idleAt(failing, 5000))
  })
})

describe("an archive", () => {
  const archiving = apply(active, must(beginArchive(active, archiveInput, 1000)).written)
  const lease = leaseOf(archiving.project)
  const takeover = { by: { _tag: "Takeover" }, idleSeconds: null, backoffMs: null, error: null } as const
  const upload = { lease, r2Key: "k", urlExpiresInMs: 1000 }
  const uploading = apply(archiving, must(startUpload(archiving, upload, 1000)))

  it("a commit takes no upload of an older generation", () => {
    const commit = { lease, r2Key: "k", r2Checksum: "c", size: 1, machineDeleteAfterMs: 0 }
    const older = { ...uploading, archives: uploading.archives.map((row) => ({ ...row, generation: 1 })) }
    assert.isNull(commitArchive(older, commit, 1000))
    assert.isNotNull(commitArchive(uploading, commit, 1000))
  })

  it("is taken over any time before the upload, after it at the lease's last millisecond", () => {
    assert.isNotNull(abortArchive(archiving, takeover, 1000))
    assert.isNull(abortArchive(uploading, takeover, 1000 + leaseMs - 1))
    assert.isNotNull(abortArchive(uploading, takeover, 1000 + leaseMs))
  })
})

describe("commit", () => {
  const other = MachineName.make("m2")
  const older = (rows: ProjectRows): ProjectRows => ({
    ...rows,
    machines: [
      ...rows.machines,
      {
        ...provisioning({ name: other, region: "ams", image: "i", volumeSizeGb: 1, keyId: "k" }, null, 0),
        project: rows.project.projectId,
        generation: rows.project.generation - 1,
        machineId: "m"
      }
    ]
  })

  it("takes no row of an older generation, but in a rehost the project's own", () => {
    const waking = older(creating)
    assert.isNull(commitActive(waking, { lease: leaseOf(waking.project), machine: other }, 0))
    const rehosting = older(apply(active, must(beginRehost(active, { ...begin, machine, reason: "-" }, 0)).written))
    const lease = leaseOf(rehosting.project)
    assert.isNull(commitActive(rehosting, { lease, machine: other }, 0))
    const committed = must(commitActive(rehosting, { lease, machine }, 0))
    assert.strictEqual(committed.machines.find(({ name }) => name === machine)?.generation, lease.generation)
    assert.strictEqual(committed.machines.find(({ name }) => name === other)?.status, "discarded")
  })
})

describe("the ledger", () => {
  const row = provisioning({ name: machine, region: "ams", image: "i", volumeSizeGb: 1, keyId: "k" }, null, 0)

  it("believes in absence after both, the time and the listings", () => {
    const absent = { ...discarded(row, 0), absentLooks: absence.minLooks }
    assert.isFalse(mayBeGone(absent, noDeletions, absence.minAgeMs - 1))
    assert.isTrue(mayBeGone(absent, noDeletions, absence.minAgeMs))
    assert.isFalse(mayBeGone({ ...absent, absentLooks: 1 }, noDeletions, absence.minAgeMs))
    assert.isFalse(mayBeGone({ ...absent, volumeId: "v" }, { machine: true, volume: true }, absence.minAgeMs))
    assert.isTrue(mayBeGone(discarded(row, 0), { machine: true, volume: true }, 0))
    assert.isFalse(mayBeGone(row, { machine: true, volume: true }, absence.minAgeMs))
  })

  it("claims the oldest, and by name among equals", () => {
    const ready = (name: string, createdAt: number) => ({
      ...row,
      name: MachineName.make(name),
      status: "ready" as const,
      createdAt
    })
    const claim = { image: "i", region: "ams" }
    assert.strictEqual(oldestReady([ready("c", 2), ready("b", 1), ready("a", 1)], claim)?.name, MachineName.make("a"))
    assert.isNull(oldestReady([ready("c", 2)], null))
    assert.isNull(oldestReady([row], claim))
  })

  it("keeps a volume that served until it is released", () => {
    assert.isTrue(volumeMayGo({ served: false, released: false }))
    assert.isFalse(volumeMayGo({ served: true, released: false }))
    assert.isTrue(volumeMayGo({ served: true, released: true }))
  })
})
