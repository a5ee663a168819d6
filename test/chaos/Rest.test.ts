/** Each way in which something may not be at rest is told, and a plane at rest is believed. */
import { assert, describe, it } from "@effect/vitest"
import type { Snapshot } from "./Rest.ts"
import { unrestOf } from "./Rest.ts"

const project = {
  project_id: "p",
  state: "dormant",
  operation: "none",
  data_unavailable: false,
  attempts: 0,
  last_error: null
}
const machine = {
  name: "n",
  status: "ready",
  project: null,
  machine_id: "m",
  volume_id: "v",
  attempts: 0,
  last_error: null
}
const archive = { r2_key: "a", status: "current", size: 3, r2_checksum: "c" }
const atRest: Snapshot = {
  projects: [project],
  machines: [machine],
  archives: [archive, { ...archive, r2_key: "b", status: "discarded" }],
  fly: { machines: [{ id: "m", name: "n", state: "started" }], volumes: [{ id: "v", name: "n", state: "created" }] },
  objects: [
    { key: "a", size: 3 },
    { key: "b", size: 1 }
  ]
}

const cases: ReadonlyArray<readonly [string, Partial<Snapshot>, "stuck" | "orphans"]> = [
  ["an operation", { projects: [{ ...project, operation: "archiving" }] }, "stuck"],
  ["a project that is idle and not dormant", { projects: [{ ...project, state: "suspended" }] }, "stuck"],
  ["a project without its data", { projects: [{ ...project, data_unavailable: true }] }, "stuck"],
  ["a row in the bin", { machines: [machine, { ...machine, status: "discarded", machine_id: null }] }, "stuck"],
  ["an upload", { archives: [...atRest.archives, { ...archive, r2_key: "x", status: "uploading" }] }, "stuck"],
  ["a pool row without its machine", { fly: { ...atRest.fly, machines: [] } }, "orphans"],
  ["a pool row without its volume", { fly: { ...atRest.fly, volumes: [] } }, "orphans"],
  [
    "a machine in no row",
    { fly: { ...atRest.fly, machines: [...atRest.fly.machines, { id: "x", name: "n", state: "stopped" }] } },
    "orphans"
  ],
  [
    "a volume in no row",
    { fly: { ...atRest.fly, volumes: [...atRest.fly.volumes, { id: "x", name: "n", state: "created" }] } },
    "orphans"
  ],
  ["an object in no row", { objects: [...atRest.objects, { key: "x", size: 1 }] }, "orphans"],
  ["an archive without its object", { objects: atRest.objects.slice(1) }, "orphans"],
  ["an archive of another size", { objects: [{ key: "a", size: 2 }, ...atRest.objects.slice(1)] }, "orphans"]
]

describe("rest", () => {
  it("is what the ledgers say, with the objects of failed attempts as long as their rows stand", () => {
    assert.deepStrictEqual(unrestOf(atRest), { stuck: [], orphans: [] })
  })

  for (const [name, difference, kind] of cases) {
    it(`${name} is ${kind === "stuck" ? "stuck" : "an orphan"}`, () => {
      const unrest = unrestOf({ ...atRest, ...difference })
      assert.lengthOf(unrest[kind], 1)
      assert.lengthOf(unrest[kind === "stuck" ? "orphans" : "stuck"], 0)
    })
  }
})
