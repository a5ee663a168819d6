/** What README and the pages in docs/ say is held to the code where it can be. */
import { readdirSync, readFileSync, existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { stripVTControlCharacters } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as HttpApi from "effect/http-api/HttpApi"
import * as Command from "effect/cli/Command"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as TestConsole from "effect/testing/TestConsole"
import { valet } from "../src/cli/Commands.ts"
import { renderVariableTable } from "../src/config/VariableTable.ts"
import { Api } from "../src/contract/Api.ts"
import { unavailableCodes } from "../src/contract/Problems.ts"
import { defaults } from "../src/orchestrator/OrchestratorConfig.ts"
import { ProjectFile } from "../src/orchestrator/folders/ProjectFile.ts"
import { eventKinds } from "../src/domain/Event.ts"
import { loopNames } from "../src/programs/background/Signals.ts"
import { taskLocks } from "../src/services/locks/Locks.ts"

const root = join(import.meta.dirname, "..")
const read = (path: string): string => readFileSync(join(root, path), "utf8")
const readme = read("README.md")
const pages = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)]

const outsideOfCode = (text: string): string => text.replaceAll(/^```[^]*?^```/gm, "")

/** As GitHub makes them of headings. */
const anchors = (text: string): ReadonlyArray<string> =>
  [...outsideOfCode(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-")
  )

describe("README", () => {
  it("has the table of variables that `valet doctor --variables` prints (npm run docs writes it)", () => {
    const table = /<!-- variables:begin -->\n([^]*)\n<!-- variables:end -->/.exec(readme)?.[1]
    assert.strictEqual(table?.trim(), renderVariableTable())
  })

  it("names every endpoint of the API", () => {
    HttpApi.reflect(Api, {
      onGroup: () => {},
      onEndpoint: ({ endpoint }) => {
        assert.include(readme, `\`${endpoint.method} ${endpoint.path.replace(/\/$/, "")}\``)
      }
    })
  })

  it("names every code of a problem", () => {
    const codes = new Set<string>(unavailableCodes)
    for (const [, code = ""] of read("src/contract/Problems.ts").matchAll(/Schema\.tag\("(\w+)"\)/g)) codes.add(code)
    for (const path of readdirSync(join(root, "src/http"), { recursive: true, encoding: "utf8" })) {
      if (!path.endsWith(".ts")) continue
      for (const [, code = ""] of read(`src/http/${path}`).matchAll(/\bcode: "(\w+)"/g)) codes.add(code)
    }
    assert.isAbove(codes.size, 15)
    for (const code of codes) assert.include(readme, `\`${code}\``)
  })

  it.effect("names every command and flag", () =>
    Effect.gen(function* () {
      const documented = readme.slice(readme.indexOf("## Command line"), readme.indexOf("## Deploying"))
      const shared = new Set(["--help", "--version", "--wizard", "--completions", "--log-level"])
      const help = (path: ReadonlyArray<string>): Effect.Effect<void, unknown, Command.Environment> =>
        Effect.gen(function* () {
          const before = (yield* TestConsole.logLines).length
          yield* Command.runWith(valet, { version: "0" })([...path, "--help"])
          const text = stripVTControlCharacters((yield* TestConsole.logLines).slice(before).join("\n"))
          assert.include(text, "USAGE", path.join(" "))
          for (const [flag] of text.matchAll(/(?<=^ +)--[a-z-]+/gm)) {
            if (!shared.has(flag)) assert.include(documented, flag, path.join(" "))
          }
          const commands = /SUBCOMMANDS\n([^]*)/.exec(text)?.[1] ?? ""
          for (const [, name = ""] of commands.matchAll(/^ {2}([a-z-]+)/gm)) {
            const below = [...path, name]
            if (name !== "projects") assert.match(documented, new RegExp(`^\\| \`${below.join(" ")}[ \`]`, "m"))
            yield* help(below)
          }
        })
      yield* help([])
    }).pipe(Effect.provide([NodeServices.layer, TestConsole.layer]))
  )

  it("shows the example as it is", () => {
    const shown = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? ""
    assert.isAbove(shown.length, 100)
    const example = read("examples/embed-live.ts")
    for (const part of shown.split("\n\n")) assert.include(example, part.trim())
  })
})

describe("operations", () => {
  const operations = read("docs/operations.md")

  it("names every loop with its lock, and every kind of event", () => {
    for (const name of loopNames) {
      assert.match(operations, new RegExp(`^\\| \`${name}\` \\|.*\\| ${taskLocks[name]} \\|`, "m"))
    }
    for (const kind of eventKinds) assert.include(operations, `\`${kind}\``)
  })

  it("names every metric", () => {
    const sources = ["src/http/api/Probes.ts", "src/programs/background/Loop.ts"].map(read).join("\n")
    const names = new Set([...sources.matchAll(/"(valet_\w+)"/g)].map(([, name = ""]) => name))
    assert.isAbove(names.size, 10)
    for (const name of names) assert.match(operations, new RegExp(`\`${name}[\`{]`))
  })
})

describe("the orchestrator's page", () => {
  const page = read("docs/orchestrator.md")

  it("names every endpoint, every metric and every field of valet.json", () => {
    const sources = readdirSync(join(root, "src/orchestrator/endpoints")).map((name) =>
      read(`src/orchestrator/endpoints/${name}`)
    )
    const metrics = new Set(
      sources.flatMap((text) => [...text.matchAll(/"(valet_orchestrator_\w+)"/g)].map(([, it]) => it))
    )
    assert.isAbove(metrics.size, 10)
    for (const name of metrics) assert.include(page, `\`${name}\``)
    const paths = [read("src/orchestrator/OwnEndpoints.ts"), ...sources].flatMap((text) =>
      [...text.matchAll(/\bpath: "(\/[^"]+)"/g)].map(([, it = ""]) => it)
    )
    assert.isAtLeast(paths.length, 10)
    for (const path of paths) assert.include(page, path)
    for (const field of Object.keys(ProjectFile.fields)) assert.include(page, `\`${field}\``)
  })

  it("and README show the defaults and the files as they are", () => {
    const row = readme.split("\n").find((line) => line.startsWith("| `orchestrator ")) ?? ""
    const { port, host, domain, dataDir, healthPath, maxServers, warmServers, spawnsPerMinute } = defaults
    const shown = [
      `--port ${port}`,
      `--host ${host}`,
      `--domain ${domain}`,
      `--data-dir ${dataDir}`,
      `--idle-timeout ${defaults.idleTimeoutMs / 1000}`,
      `--health-check-interval ${defaults.healthCheckIntervalMs / 1000}`,
      `--health-path ${healthPath}`,
      `--spawn-timeout ${defaults.spawnTimeoutMs / 1000}`,
      `--stop-grace ${defaults.stopGraceMs / 1000}`,
      `--max-servers ${maxServers}`,
      `--warm-servers ${warmServers}`,
      `--response-timeout ${defaults.responseTimeoutMs / 1000}`,
      `--spawn-rate ${spawnsPerMinute}`
    ]
    for (const flag of shown) assert.include(row, `\`${flag}\``)
    for (const name of ["valet.service", "Caddyfile", "nginx.conf"])
      assert.include(readme, read(`examples/vps/${name}`))
  })
})

describe("every page", () => {
  it.effect("links to files and headings that are there", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      for (const page of pages) {
        const text = outsideOfCode(read(page))
        for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
          if (/^https?:/.test(target)) continue
          const [path = "", anchor] = target.split("#")
          const file = path === "" ? page : join(dirname(page), path)
          assert.isTrue(yield* fs.exists(join(root, file)), `${page}: ${target}`)
          if (anchor !== undefined) assert.include(anchors(read(file)), anchor, `${page}: ${target}`)
        }
      }
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it("names sources that are there", () => {
    for (const page of pages) {
      for (const [, path = ""] of read(page).matchAll(/`((?:src|test|examples|scripts|migrations)\/[\w./-]+)`/g)) {
        assert.isTrue(existsSync(join(root, path)), `${page}: ${path}`)
      }
    }
  })
})
