/** Projects' folders on the real file system. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import type { OrchestratorConfigValue } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { ProjectFolders } from "../../../src/orchestrator/ProjectFolders.ts"
import { layerAt, temporary } from "../process/support.ts"

interface World {
  readonly fs: FileSystem.FileSystem
  readonly folders: ProjectFolders["Service"]
  readonly root: string
  /** Makes the project's folder too. */
  write(id: string, json: unknown): Effect.Effect<void, unknown>
}

const id = (name: string) => ProjectId.make(name)

/** Time stands still unless the test moves it. */
const test = (
  title: string,
  body: (world: World) => Effect.Effect<void, unknown, FileSystem.FileSystem>,
  config: Partial<OrchestratorConfigValue> = {}
) =>
  it.effect(title, () =>
    Effect.gen(function* () {
      const root = yield* temporary
      yield* Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const write = (name: string, json: unknown) =>
          Effect.andThen(
            fs.makeDirectory(`${root}/${name}`, { recursive: true }),
            fs.writeFileString(`${root}/${name}/valet.json`, typeof json === "string" ? json : JSON.stringify(json))
          )
        yield* body({ fs, folders: yield* ProjectFolders, root, write })
      }).pipe(Effect.provide(layerAt(root, { idleTimeoutMs: 300_000, ...config })))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

describe("a plan", () => {
  test("without valet.json is the orchestrator's own, in a folder that is made for it", ({ folders, fs, root }) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* folders.plan(id("notes")), {
        id: id("notes"),
        folder: `${root}/notes`,
        command: ["server"],
        cwd: process.cwd(),
        env: { PROJECT_ID: "notes", DATA_DIR: `${root}/notes`, DATABASE_PATH: `${root}/notes/project.db` },
        idleTimeoutMs: 300_000,
        healthPath: "/health",
        maxMemoryMb: null,
        warm: true
      })
      assert.strictEqual((yield* fs.stat(`${root}/notes`)).mode & 0o777, 0o700)
      assert.deepStrictEqual(yield* folders.all, [id("notes")])
    }))

  test("is what valet.json says, read anew each time", ({ folders, fs, root, write }) =>
    Effect.gen(function* () {
      yield* fs.makeDirectory(`${root}/notes/app`, { recursive: true })
      yield* write("notes", {
        command: ["node", "server.js"],
        cwd: "app",
        env: { A: "b" },
        idle_timeout: "10m",
        health_path: "/up",
        max_memory_mb: 64
      })
      assert.deepStrictEqual(yield* folders.plan(id("notes")), {
        id: id("notes"),
        folder: `${root}/notes`,
        command: ["node", "server.js"],
        cwd: `${root}/notes/app`,
        env: { A: "b", PROJECT_ID: "notes", DATA_DIR: `${root}/notes`, DATABASE_PATH: `${root}/notes/project.db` },
        idleTimeoutMs: 600_000,
        healthPath: "/up",
        maxMemoryMb: 64,
        warm: false
      })
      yield* write("notes", { idle_timeout: 0, hosts: ["a.example"] })
      const { command, idleTimeoutMs, warm } = yield* folders.plan(id("notes"))
      assert.deepStrictEqual({ command, idleTimeoutMs, warm }, { command: ["server"], idleTimeoutMs: 0, warm: true })
    }))

  for (const field of [{ command: ["a"] }, { cwd: "." }, { env: {} }, { health_path: "/x" }, { max_memory_mb: 16 }]) {
    test(`with its own ${Object.keys(field)} is not what a warm server runs`, ({ folders, write }) =>
      Effect.gen(function* () {
        yield* write("notes", field)
        assert.isFalse((yield* folders.plan(id("notes"))).warm)
      }))
  }

  test("of a file that is wrong names the project and every problem", ({ folders, write }) =>
    Effect.gen(function* () {
      yield* write("notes", { command: "node x", idle_timeout: -1 })
      const error = yield* Effect.flip(folders.plan(id("notes")))
      assert.strictEqual(error.reason, "invalid")
      assert.strictEqual(
        error.detail,
        'notes/valet.json: command must be an array: ["node","x"]\n' +
          'notes/valet.json: idle_timeout must be whole seconds, 0 for never, or a duration such as "10m"'
      )
    }))
})

const refused = (folders: World["folders"], name: string, reason: "forbidden" | "invalid", detail: RegExp) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(folders.plan(id(name)))
    assert.strictEqual(error.reason, reason)
    assert.match(error.detail, detail)
    assert.strictEqual(yield* folders.serves(id(name)), reason === "invalid")
  })

describe("safety", () => {
  test("a link or a file in place of the folder is forbidden", ({ folders, fs, root }) =>
    Effect.gen(function* () {
      yield* fs.makeDirectory(`${root}/real`)
      yield* fs.symlink(`${root}/real`, `${root}/link`)
      yield* fs.symlink("/nowhere", `${root}/dangling`)
      yield* fs.writeFileString(`${root}/file`, "")
      for (const name of ["link", "dangling", "file"]) yield* refused(folders, name, "forbidden", /there is no project/)
      assert.deepStrictEqual(yield* folders.all, [id("real")])
    }))

  test("a reserved name is forbidden", ({ folders, fs, root }) =>
    Effect.gen(function* () {
      yield* refused(folders, "admin", "forbidden", /there is no project admin/)
      assert.isFalse(yield* fs.exists(`${root}/admin`))
    }))

  test("valet.json that is a link, a folder, a pipe's like or too large is invalid", ({ folders, fs, root, write }) =>
    Effect.gen(function* () {
      yield* write("target", {})
      yield* fs.makeDirectory(`${root}/link`)
      yield* fs.symlink(`${root}/target/valet.json`, `${root}/link/valet.json`)
      yield* fs.makeDirectory(`${root}/folder/valet.json`, { recursive: true })
      yield* fs.makeDirectory(`${root}/device`)
      yield* fs.symlink("/dev/zero", `${root}/device/valet.json`)
      yield* write("large", `{}${" ".repeat(64 * 1024)}`)
      yield* write("largest", `{}${" ".repeat(64 * 1024 - 2)}`)
      yield* refused(folders, "link", "invalid", /symbolic link/)
      yield* refused(folders, "device", "invalid", /symbolic link/)
      yield* refused(folders, "folder", "invalid", /not a regular file/)
      yield* refused(folders, "large", "invalid", /larger than 64 KiB/)
      yield* folders.plan(id("largest"))
    }))

  test("cwd stays in the project's folder, links followed", ({ folders, fs, root, write }) =>
    Effect.gen(function* () {
      yield* fs.makeDirectory(`${root}/notes/in`, { recursive: true })
      yield* fs.makeDirectory(`${root}/notes-2`)
      yield* fs.symlink("/", `${root}/notes/out`)
      yield* fs.symlink("in", `${root}/notes/within`)
      yield* fs.writeFileString(`${root}/notes/file`, "")
      for (const cwd of ["..", "in/../..", "out", "out/etc", "../notes-2"]) {
        yield* write("notes", { cwd })
        yield* refused(folders, "notes", "invalid", /notes\/valet.json: cwd leads out of the project's folder/)
      }
      for (const cwd of ["gone", "file"]) {
        yield* write("notes", { cwd })
        yield* refused(folders, "notes", "invalid", /cwd is no folder/)
      }
      yield* write("notes", { cwd: "within" })
      assert.strictEqual((yield* folders.plan(id("notes"))).cwd, `${root}/notes/in`)
    }))

  test(
    "only what --allow names is served",
    ({ folders, fs, root }) =>
      Effect.gen(function* () {
        yield* folders.plan(id("team-a"))
        yield* refused(folders, "other", "forbidden", /there is no project other/)
        assert.isFalse(yield* fs.exists(`${root}/other`))
      }),
    { allow: "team-*,x" }
  )

  test(
    "with --existing-only no folder is made",
    ({ folders, fs, root, write }) =>
      Effect.gen(function* () {
        yield* write("here", {})
        yield* folders.plan(id("here"))
        yield* refused(folders, "new", "forbidden", /there is no project new/)
        assert.isFalse(yield* fs.exists(`${root}/new`))
      }),
    { existingOnly: true }
  )
})

describe("hosts", () => {
  test("are found whatever their case, those of projects that are not there are not", ({ folders, write }) =>
    Effect.gen(function* () {
      yield* write("notes", { hosts: ["Notes.Example"] })
      yield* write("broken", { hosts: ["broken.example"], idle_timeout: -1 })
      assert.strictEqual(yield* folders.ofHost("notes.example"), id("notes"))
      assert.isUndefined(yield* folders.ofHost("other.example"))
      assert.isUndefined(yield* folders.ofHost("broken.example"))
    }))

  test("that two claim are the first one's", ({ folders, write }) =>
    Effect.gen(function* () {
      yield* write("b", { hosts: ["x.example"] })
      yield* write("a", { hosts: ["x.example"] })
      assert.strictEqual(yield* folders.ofHost("x.example"), id("a"))
    }))

  test("that two claim are told of once", ({ folders, write }) =>
    Effect.gen(function* () {
      const told: Array<unknown> = []
      const logger = Logger.layer([Logger.make(({ message }) => told.push(message))])
      yield* write("b", { hosts: ["x.example"] })
      yield* write("a", { hosts: ["x.example"] })
      yield* Effect.gen(function* () {
        for (const host of ["x.example", "y.example", "y.example"]) {
          yield* folders.ofHost(host)
          yield* TestClock.adjust("10 seconds")
        }
      }).pipe(Effect.provide(logger))
      assert.deepStrictEqual(told.flat(), ["x.example is claimed by a and b: a serves it"])
    }))

  test("that are unknown are looked for at most every 5 seconds", ({ folders, write }) =>
    Effect.gen(function* () {
      assert.isUndefined(yield* folders.ofHost("notes.example"))
      yield* write("notes", { hosts: ["notes.example"] })
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(yield* folders.ofHost("notes.example"))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* folders.ofHost("notes.example"), id("notes"))
      yield* write("notes", { hosts: ["new.example"] })
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* folders.ofHost("new.example"), id("notes"))
      assert.isUndefined(yield* folders.ofHost("notes.example"))
    }))

  test("change when their project's plan is read", ({ folders, write }) =>
    Effect.gen(function* () {
      yield* write("notes", { hosts: ["old.example"] })
      assert.strictEqual(yield* folders.ofHost("old.example"), id("notes"))
      yield* write("notes", { hosts: ["new.example"] })
      yield* folders.plan(id("notes"))
      assert.strictEqual(yield* folders.ofHost("new.example"), id("notes"))
      assert.isUndefined(yield* folders.ofHost("old.example"))
    }))

  test(
    "of projects that --allow leaves out are not served",
    ({ folders, write }) =>
      Effect.gen(function* () {
        yield* write("notes", { hosts: ["notes.example"] })
        yield* write("team-a", { hosts: ["a.example"] })
        assert.isUndefined(yield* folders.ofHost("notes.example"))
        assert.strictEqual(yield* folders.ofHost("a.example"), id("team-a"))
      }),
    { allow: "team-*" }
  )
})

describe("the idle time of a project", () => {
  test("is written beside its other fields, and removed again", ({ folders, fs, root, write }) =>
    Effect.gen(function* () {
      yield* write("notes", { command: ["a"], hosts: ["A.example"], idle_timeout: 1 })
      yield* fs.chmod(`${root}/notes/valet.json`, 0o640)
      yield* folders.setIdleTimeout(id("notes"), 90_000)
      const read = Effect.map(fs.readFileString(`${root}/notes/valet.json`), (text): unknown => JSON.parse(text))
      assert.deepStrictEqual(yield* read, { command: ["a"], hosts: ["A.example"], idle_timeout: 90 })
      assert.strictEqual((yield* fs.stat(`${root}/notes/valet.json`)).mode & 0o777, 0o640)
      yield* folders.setIdleTimeout(id("notes"), 1_500)
      assert.strictEqual((yield* folders.plan(id("notes"))).idleTimeoutMs, 1_500)
      yield* folders.setIdleTimeout(id("notes"), null)
      assert.deepStrictEqual(yield* read, { command: ["a"], hosts: ["A.example"] })
      assert.deepStrictEqual(yield* fs.readDirectory(`${root}/notes`), ["valet.json"])
    }))

  test("makes a file where there is none, but not to remove it from", ({ folders, fs, root }) =>
    Effect.gen(function* () {
      yield* folders.setIdleTimeout(id("notes"), null)
      assert.isFalse(yield* fs.exists(`${root}/notes/valet.json`))
      yield* folders.setIdleTimeout(id("notes"), 0)
      assert.strictEqual((yield* folders.plan(id("notes"))).idleTimeoutMs, 0)
    }))

  test("leaves alone whatever else is in the folder", ({ folders, fs, root, write }) =>
    Effect.gen(function* () {
      yield* write("notes", {})
      for (const name of ["valet.json.new", "valet.json~", ".valet.json.swp"]) {
        yield* fs.writeFileString(`${root}/notes/${name}`, name)
      }
      yield* folders.setIdleTimeout(id("notes"), 5_000)
      for (const name of ["valet.json.new", "valet.json~", ".valet.json.swp"]) {
        assert.strictEqual(yield* fs.readFileString(`${root}/notes/${name}`), name)
      }
    }))

  test("of many at once is written whole", ({ folders }) =>
    Effect.gen(function* () {
      yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => i),
        (i) => folders.setIdleTimeout(id("notes"), i * 1000),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual((yield* folders.plan(id("notes"))).idleTimeoutMs, 49_000)
    }))

  test("is not written over a file that is wrong, a link, or of nobody", ({ folders, fs, root, write }) =>
    Effect.gen(function* () {
      yield* write("notes", "{")
      assert.strictEqual((yield* Effect.flip(folders.setIdleTimeout(id("notes"), 0))).reason, "invalid")
      assert.strictEqual(yield* fs.readFileString(`${root}/notes/valet.json`), "{")
      yield* fs.makeDirectory(`${root}/link`)
      yield* fs.writeFileString(`${root}/victim`, "{}")
      yield* fs.symlink(`${root}/victim`, `${root}/link/valet.json`)
      assert.strictEqual((yield* Effect.flip(folders.setIdleTimeout(id("link"), 0))).reason, "invalid")
      // A project may put a link where the new file is written.
      yield* write("sly", {})
      yield* fs.symlink(`${root}/victim`, `${root}/sly/.valet.json.valet-new`)
      yield* folders.setIdleTimeout(id("sly"), 5_000)
      assert.strictEqual(yield* fs.readFileString(`${root}/victim`), "{}")
      assert.strictEqual((yield* Effect.flip(folders.setIdleTimeout(id("admin"), 0))).reason, "forbidden")
    }))
})

it.effect("a pattern that is none stops the start", () =>
  Effect.gen(function* () {
    const root = yield* temporary
    const error = yield* Effect.flip(Effect.void.pipe(Effect.provide(layerAt(root, { allow: "a/b" }))))
    assert.match(error.message, /--allow: "a\/b"/)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
