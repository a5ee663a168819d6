/** A local Fly in a temporary folder, a client that says exactly what it sends, and looks with a bound. */
import { readFileSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { LocalFlyOptions } from "../../../../src/local/fly/LocalFly.ts"
import { LocalFly } from "../../../../src/local/fly/LocalFly.ts"
import { request } from "node:http"
import { fileURLToPath } from "node:url"

export const token = "a local token"
export const app = "projects"
export const program = fileURLToPath(new URL("machine.mjs", import.meta.url))

export const command = () => ({ cmd: process.execPath, args: [program], env: { MARK: "from the command" } })

export const layerAt = (dataDir: string, options: Partial<LocalFlyOptions> = {}) =>
  LocalFly.layer({
    dataDir,
    apps: [app],
    token: Redacted.make(token),
    command,
    rateLimits: false,
    shutdownGraceMs: 2_000,
    ...options
  })

export const temporary = Effect.flatMap(FileSystem.FileSystem, (fs) =>
  fs.makeTempDirectoryScoped({ prefix: "local-fly-" })
).pipe(Effect.provide(NodeServices.layer))

export const layer = (options: Partial<LocalFlyOptions> = {}) =>
  Layer.unwrap(Effect.map(temporary, (dataDir) => layerAt(dataDir, options)))

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly text: string
  /** Undefined where it is no JSON. */
  readonly body: unknown
}

/** What stands at a path of a JSON value; undefined where nothing does. */
export const at = (value: unknown, ...path: ReadonlyArray<string | number>): unknown =>
  path.reduce<unknown>(
    (it, key) =>
      typeof it === "object" && it !== null ? Object.entries(it).find(([k]) => k === String(key))?.[1] : undefined,
    value
  )

export interface Ask {
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** Fails where the connection breaks without an answer. */
export const send = (url: string, method: string, ask: Ask = {}): Effect.Effect<Answer, string> =>
  Effect.callback((resume) => {
    const call = request(url, { method, agent: false, headers: { ...ask.headers } }, (response) => {
      let text = ""
      response.on("data", (chunk) => (text += String(chunk)))
      response.on("error", (error) => resume(Effect.fail(error.message)))
      response.on("end", () => {
        const json = (response.headers["content-type"] ?? "").includes("json")
        resume(
          Effect.succeed({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            body: json ? JSON.parse(text) : undefined
          })
        )
      })
    })
    call.on("error", (error) => resume(Effect.fail(error.message)))
    if (ask.body !== undefined) call.setHeader("content-type", "application/json")
    call.end(ask.body === undefined ? undefined : JSON.stringify(ask.body))
    return Effect.sync(() => call.destroy())
  })

/** To the API, with the token. */
export const api = (method: string, path: string, ask: Ask = {}) =>
  Effect.flatMap(LocalFly, ({ url }) =>
    send(`${url}${path}`, method, { ...ask, headers: { authorization: `Bearer ${token}`, ...ask.headers } })
  )

export const machines = `/v1/apps/${app}/machines`
export const volumes = `/v1/apps/${app}/volumes`

export const config = (more: object = {}) => ({
  image: "registry.fly.io/valet:1",
  services: [{ internal_port: 3000, protocol: "tcp", autostart: true, autostop: "off", ports: [{ port: 443 }] }],
  stop_config: { signal: "SIGTERM", timeout: "5s" },
  ...more
})

export const createVolume = Effect.fnUntraced(function* (name = "data") {
  const answer = yield* api("POST", volumes, { body: { name, region: "sjc", size_gb: 1, require_unique_zone: false } })
  assert.strictEqual(answer.status, 200, answer.text)
  return String(at(answer.body, "id"))
})

/** Created on a volume of its own, and started. */
export const createMachine = Effect.fnUntraced(function* (more: object = {}, body: object = {}) {
  const volume = yield* createVolume()
  const mounts = [{ volume, path: "/data" }]
  const made = yield* api("POST", machines, { body: { config: config({ mounts, ...more }), ...body } })
  assert.strictEqual(made.status, 200, made.text)
  const id = String(at(made.body, "id"))
  yield* wait(id, "started")
  return { id, volume, instanceId: String(at(made.body, "instance_id")) }
})

export const wait = Effect.fnUntraced(function* (id: string, state: string) {
  const { body } = yield* api("GET", `${machines}/${id}`)
  const version = String(at(body, "instance_id"))
  const answer = yield* api("GET", `${machines}/${id}/wait?state=${state}&instance_id=${version}&timeout=20`)
  assert.strictEqual(answer.status, 200, answer.text)
})

export const stateOf = (id: string) =>
  Effect.map(api("GET", `${machines}/${id}`), ({ body }) => String(at(body, "state")))

/** Looks again until it is so, at most for ten seconds. */
export const eventually = <E, R>(what: string, look: Effect.Effect<boolean, E, R>) =>
  look.pipe(
    Effect.repeat({ until: (it) => it, schedule: Schedule.spaced("25 millis"), times: 400 }),
    Effect.map((it) => assert.isTrue(it, what))
  )

/** A zombie only waits for its parent, which may be a busy init: it is dead. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return false
  }
}
