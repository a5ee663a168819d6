/** Whether fly.toml and the Dockerfile mean what they say, as far as that can be told without Fly and Docker. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { parse } from "smol-toml"
import { fromEnvironment } from "../../src/config/Environment.ts"

const root = join(import.meta.dirname, "../..")
const text = (name: string) => readFileSync(join(root, name), "utf8")
const fly = parse(text("fly.toml"))
const node: { engines: { node: string }; devDependencies: Record<string, string> } = JSON.parse(text("package.json"))

const check = ["method", "path", "interval", "timeout", "grace_period", "protocol", "tls_skip_verify", "headers"]

/** Fly's configuration reference, as far as it goes for one process group. `*`: any name. */
const documented: Readonly<Record<string, ReadonlyArray<string>>> = {
  "": [
    ..."app primary_region kill_signal kill_timeout swap_size_mb console_command build deploy env processes mounts".split(
      " "
    ),
    ..."http_service services checks files restart vm statics metrics".split(" ")
  ],
  build: ["builder", "args", "buildpacks", "image", "dockerfile", "ignorefile", "build-target"],
  deploy: [
    "strategy",
    "max_unavailable",
    "wait_timeout",
    "release_command",
    "release_command_timeout",
    "release_command_vm"
  ],
  env: ["*"],
  http_service: [
    ..."internal_port force_https auto_stop_machines auto_start_machines min_machines_running processes".split(" "),
    ..."concurrency checks tls_options http_options machine_checks".split(" ")
  ],
  "http_service.concurrency": ["type", "soft_limit", "hard_limit"],
  "http_service.checks": check,
  checks: ["*"],
  "checks.*": ["type", "port", "processes", ...check],
  metrics: ["port", "path", "https", "processes"],
  vm: ["size", "memory", "cpus", "cpu_kind", "memory_mb", "processes"]
}

const isTable = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

/** Paths of all keys; elements of an array of tables stand under the array's name. */
const unknownKeys = (table: Record<string, unknown>, path: string): ReadonlyArray<string> => {
  const known = documented[path] ?? []
  return Object.entries(table).flatMap(([key, value]) => {
    const place = known.includes("*") && !known.includes(key) ? "*" : key
    const below = path === "" ? place : `${path}.${place}`
    const tables = (Array.isArray(value) ? value : [value]).filter(isTable)
    return [
      ...(known.includes(place) ? [] : [`${path}.${key}`]),
      ...tables.flatMap((inner) => unknownKeys(inner, below))
    ]
  })
}

const at = (table: unknown, ...path: ReadonlyArray<string>): unknown => {
  const [key, ...rest] = path
  if (key === undefined) return table
  const inner = Array.isArray(table) ? table[0] : table
  return isTable(inner) ? at(inner[key], ...rest) : undefined
}

interface Stage {
  readonly name: string
  readonly from: string
  readonly steps: ReadonlyArray<string>
}

const stages = (): ReadonlyArray<Stage> => {
  const lines = text("Dockerfile")
    .replaceAll("\\\n", " ")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
  const found: Array<{ name: string; from: string; steps: Array<string> }> = []
  for (const line of lines) {
    const begin = /^FROM (\S+) AS (\S+)$/.exec(line)
    if (begin !== null) found.push({ from: begin[1] ?? "", name: begin[2] ?? "", steps: [] })
    else found.at(-1)?.steps.push(line)
  }
  return found
}

const stage = (name: string): Stage => {
  const found = stages().find((candidate) => candidate.name === name)
  assert.isDefined(found, `a stage ${name}`)
  return found ?? { name, from: "", steps: [] }
}

const scriptsIn = (command: string): ReadonlyArray<string> =>
  [...command.matchAll(/\b(?:scripts|src)\/[\w/.-]+/g)].map(String)

describe("fly.toml", () => {
  it("has only documented keys", () => {
    assert.deepStrictEqual(unknownKeys(fly, ""), [])
  })

  it("stops with the signal and the time that the drain needs", () => {
    assert.strictEqual(at(fly, "kill_signal"), "SIGTERM")
    assert.strictEqual(at(fly, "kill_timeout"), "30s")
  })

  it("keeps two machines running, never stopped, one replaced at a time", () => {
    assert.strictEqual(at(fly, "http_service", "auto_stop_machines"), "off")
    assert.strictEqual(at(fly, "http_service", "min_machines_running"), 2)
    assert.strictEqual(at(fly, "deploy", "max_unavailable"), 1)
  })

  it("routes by liveness, deploys by readiness, on the port that is listened on", () => {
    const port = Number(at(fly, "env", "CONTROL_PLANE_PORT"))
    assert.strictEqual(at(fly, "http_service", "internal_port"), port)
    assert.strictEqual(at(fly, "http_service", "checks", "path"), "/health")
    assert.strictEqual(at(fly, "checks", "ready", "path"), "/health/ready")
    assert.strictEqual(at(fly, "checks", "ready", "port"), port)
    assert.strictEqual(at(fly, "metrics", "port"), port)
    assert.include(stage("control-plane").steps, `EXPOSE ${port}`)
  })

  it("migrates and serves with the same program", () => {
    const [program = "", script = "", command] = String(at(fly, "deploy", "release_command")).split(" ")
    assert.strictEqual(command, "migrate")
    assert.include(stage("control-plane").steps, `CMD ["${program}", "${script}", "serve"]`)
  })

  it("builds a stage that exists", () => {
    assert.strictEqual(at(fly, "build", "build-target"), "control-plane")
    assert.isTrue(existsSync(join(root, String(at(fly, "build", "dockerfile")))))
    assert.strictEqual(stages().at(-1)?.name, "control-plane", "also where no target is named")
  })

  it.effect("with the secrets it names, is a whole configuration", () =>
    Effect.gen(function* () {
      const environment = at(fly, "env")
      const named = Object.fromEntries(
        Object.entries(isTable(environment) ? environment : {}).map(([name, value]) => [name, String(value)])
      )
      for (const name of Object.keys(named)) assert.notMatch(name, /^FLY_/)
      const config = yield* fromEnvironment.pipe(
        Effect.provide(
          ConfigProvider.layer(
            ConfigProvider.fromEnvRecord({
              ...named,
              FLY_APP_NAME: String(at(fly, "app")),
              DATABASE_URL: "postgres://db",
              DATABASE_DIRECT_URL: "postgres://direct",
              CONTROL_PLANE_SECRET: "s".repeat(32),
              CONTROL_PLANE_INTERNAL_SECRET: "i".repeat(32),
              VALET_FLY_TOKEN: "FlyV1 t",
              R2_ENDPOINT: "https://r2",
              R2_ACCESS_KEY_ID: "id",
              R2_SECRET_ACCESS_KEY: "key"
            })
          )
        )
      )
      assert.strictEqual(config.host, "::")
      assert.notStrictEqual(config.fly.app, at(fly, "app"), "project machines have an app of their own")
      assert.isTrue(config.onFly)
    })
  )
})

describe("Dockerfile", () => {
  it("pins the Node that this package is tested with", () => {
    assert.strictEqual(stage("base").from, `node:${node.devDependencies["node"]}-slim`)
    for (const { from, name } of stages().slice(1)) assert.include(["base", "build"], from, name)
  })

  it("copies what exists and what .dockerignore lets through", () => {
    const allowed = text(".dockerignore")
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1))
    for (const { steps } of stages()) {
      for (const step of steps.filter((step) => step.startsWith("COPY ") && !step.includes("--from="))) {
        for (const source of step.split(/\s+/).slice(1, -1)) {
          assert.isTrue(existsSync(join(root, source)), source)
          assert.include(allowed, source)
        }
      }
    }
  })

  it("runs scripts that exist, copied before", () => {
    const { steps } = stage("build")
    const runs = steps.flatMap((step, index) => scriptsIn(step).map((script) => ({ script, index })))
    assert.isNotEmpty(runs.filter(({ index }) => steps[index]?.startsWith("RUN ")))
    for (const { script, index } of runs.filter(({ index }) => steps[index]?.startsWith("RUN "))) {
      assert.isTrue(existsSync(join(root, script)), script)
      assert.isTrue(
        steps.slice(0, index).some((step) => step.startsWith(`COPY ${script.split("/")[0]}`)),
        script
      )
    }
  })

  it("starts without a shell, the plane without root", () => {
    for (const name of ["control-plane", "project-server"]) {
      const command =
        stage(name)
          .steps.find((step) => step.startsWith("CMD "))
          ?.slice(4) ?? ""
      assert.isTrue(Array.isArray(JSON.parse(command)), name)
    }
    const { steps } = stage("control-plane")
    assert.isBelow(
      steps.indexOf("USER node"),
      steps.findIndex((step) => step.startsWith("CMD "))
    )
    assert.include(steps, "USER node")
  })

  it("has the migrations beside the bundle that runs them", () => {
    assert.include(stage("control-plane").steps, "COPY migrations ./migrations")
  })
})
