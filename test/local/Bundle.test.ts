import { mkdir, mkdtemp, rename, rm, utimes, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { spawn } from "node:child_process"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { ensureBundle } from "../../src/local/Bundle.ts"
import { fingerprint } from "../../src/local/BundleFingerprint.ts"

const checkout = Effect.acquireRelease(
  Effect.promise(async () => {
    const root = await mkdtemp(join(tmpdir(), "valet-bundle-"))
    await mkdir(join(root, "src/deep"), { recursive: true })
    await mkdir(join(root, "scripts"))
    for (const name of ["src/main.ts", "src/deep/a.ts", "package-lock.json", "scripts/bundle.ts"]) {
      await writeFile(join(root, name), name)
    }
    return root
  }),
  (root) => Effect.promise(() => rm(root, { recursive: true }))
)

describe("the bundle's fingerprint", () => {
  it.live("changes with content, time and name of each source, and with nothing else", () =>
    Effect.gen(function* () {
      const root = yield* checkout
      const look = Effect.promise(() => fingerprint(root))
      const seen = [yield* look]
      assert.strictEqual(yield* look, seen[0])
      const changes = [
        () => writeFile(join(root, "src/deep/a.ts"), "longer than it was"),
        () => utimes(join(root, "src/main.ts"), 1, 1),
        () => rename(join(root, "src/deep/a.ts"), join(root, "src/deep/b.ts")),
        () => rm(join(root, "src/deep/b.ts")),
        () => writeFile(join(root, "package-lock.json"), "{}"),
        () => writeFile(join(root, "scripts/bundle.ts"), "")
      ]
      for (const change of changes) {
        yield* Effect.promise(change)
        const now = yield* look
        assert.notInclude(seen, now)
        seen.push(now)
      }
      yield* Effect.promise(() => writeFile(join(root, "README.md"), ""))
      assert.strictEqual(yield* look, seen.at(-1))
    })
  )
})

describe("the bundle", () => {
  it.live("is there for everybody who asks at the same time, and runs without node_modules", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const bundles = yield* Effect.all([ensureBundle, ensureBundle, ensureBundle], { concurrency: "unbounded" })
      const [{ projectServer, valet }] = bundles
      assert.deepStrictEqual(new Set(bundles.map((bundle) => bundle.valet)).size, 1)
      assert.isTrue(yield* fs.exists(valet))

      const elsewhere = yield* fs.makeTempDirectoryScoped({ prefix: "valet-alone-" })
      yield* fs.copyFile(projectServer, join(elsewhere, "server.mjs"))
      const code = yield* Effect.callback<number | null>((resume) => {
        const child = spawn(process.execPath, [join(elsewhere, "server.mjs")], {
          cwd: elsewhere,
          env: {},
          stdio: "ignore"
        })
        child.on("close", (code) => resume(Effect.succeed(code)))
      })
      assert.strictEqual(code, 2, "it is not configured, and says so")
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
