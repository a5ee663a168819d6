import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"

const root = join(import.meta.dirname, "../..")
const read = (name: string) => JSON.parse(readFileSync(join(root, name), "utf8"))

interface Package {
  readonly bin: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly scripts: Readonly<Record<string, string>>
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly sideEffects: ReadonlyArray<string>
}

const pack: Package = read("package.json")
const build: { readonly files: ReadonlyArray<string> } = read("tsconfig.build.json")

describe("the npm package", () => {
  it("exports what the build compiles, with declarations beside it", () => {
    for (const [name, entry] of Object.entries(pack.exports)) {
      if (typeof entry === "string") continue
      const source = entry["default"]?.replace(/^\.\/dist\//, "src/").replace(/\.js$/, ".ts") ?? ""
      assert.isTrue(existsSync(join(root, source)), `${name}: ${source}`)
      assert.include(build.files, source)
      assert.strictEqual(entry["types"], entry["default"]?.replace(/\.js$/, ".d.ts"))
    }
  })

  it("has the bundle as its command", () => {
    assert.deepStrictEqual(pack.bin, { valet: "./dist/valet.mjs" })
    assert.match(readFileSync(join(root, "src/bin.ts"), "utf8"), /^#!\/usr\/bin\/env node\n/)
  })

  it("keeps what is imported for its effects alone, or a bundle would be empty", () => {
    for (const source of ["./src/bin.ts", "./src/main.ts", "./src/apps/ProjectServerMain.ts"]) {
      assert.include(pack.sideEffects, source)
      assert.isTrue(existsSync(join(root, source)), source)
    }
  })

  it("pins exact versions, and is tested with the peers that it asks for", () => {
    for (const [name, version] of Object.entries({ ...pack.dependencies, ...pack.devDependencies })) {
      assert.match(version, /^\d+\.\d+\.\d+(-[\w.]+)?$/, name)
    }
    for (const [name, version] of Object.entries(pack.peerDependencies)) {
      assert.strictEqual(pack.devDependencies[name], version, name)
    }
  })

  it("has scripts that exist", () => {
    for (const command of Object.values(pack.scripts)) {
      for (const [file] of command.matchAll(/\b(?:src|scripts|bench)\/[\w/.-]+\.ts\b/g)) {
        assert.isTrue(existsSync(join(root, file)), file)
      }
    }
  })
})
