/** `FlyHttp` over an HTTP client that answers from a script, on TestClock. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { PlaneConfig } from "../../../src/config/PlaneConfig.ts"
import { machineConfig, type MachineConfig } from "../../../src/contract/MachineConfig.ts"
import type { Fly } from "../../../src/services/fly/Fly.ts"
import * as FlyBudget from "../../../src/services/fly/FlyBudget.ts"
import * as FlyHttp from "../../../src/services/fly/FlyHttp.ts"
import { testConfig } from "../../../src/testing/TestPlane.ts"

export const TOKEN = "fly-token-of-the-plane"

export interface Sent {
  /** `GET /machines/m1?x=y`, below the app. */
  readonly line: string
  readonly body: unknown
  readonly at: number
  readonly headers: Readonly<Record<string, string>>
}

/** One answer: a status and a JSON body, a connection error, or silence. */
export type Reply =
  | {
      readonly status: number
      readonly body?: unknown
      readonly headers?: Readonly<Record<string, string>>
      readonly afterMs?: number
    }
  | { readonly breaks: string }
  | "silence"

/** Asked for each request; null where the script has no answer, which is a defect of the test. */
export type Script = (sent: Sent, count: number) => Reply | null

const bodyOf = (request: HttpClientRequest.HttpClientRequest): unknown =>
  request.body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(request.body.body)) : undefined

const budgetless = Layer.succeed(FlyBudget.FlyBudget, FlyBudget.FlyBudget.of({ book: () => Effect.succeed(0) }))

export const make = (script: Script, budget: Layer.Layer<FlyBudget.FlyBudget> = budgetless) => {
  const sent: Array<Sent> = []
  const client = HttpClient.make((request, url) =>
    Effect.gen(function* () {
      const path = url.pathname.replace(`/v1/apps/${testConfig.fly.app}`, "")
      const one: Sent = {
        line: `${request.method} ${path}${decodeURIComponent(url.search)}`,
        body: bodyOf(request),
        at: yield* Clock.currentTimeMillis,
        headers: request.headers
      }
      sent.push(one)
      const reply = script(one, sent.filter(({ line }) => line === one.line).length)
      if (reply === null) return yield* Effect.die(new Error(`not in the script: ${one.line}`))
      if (reply === "silence") return yield* Effect.never
      if ("breaks" in reply) {
        const cause = Object.assign(new Error(`${url.href} broke`), { code: reply.breaks })
        return yield* new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause })
        })
      }
      if (reply.afterMs !== undefined) yield* Effect.sleep(reply.afterMs)
      const empty = reply.status === 204
      const text = typeof reply.body === "string" ? reply.body : JSON.stringify(reply.body ?? {})
      return HttpClientResponse.fromWeb(
        request,
        new Response(empty ? null : text, {
          status: reply.status,
          headers: { "fly-request-id": "01REQ", ...reply.headers }
        })
      )
    })
  )
  const config = { ...testConfig, fly: { ...testConfig.fly, apiUrl: "http://fly.test/", token: Redacted.make(TOKEN) } }
  const layer: Layer.Layer<Fly> = FlyHttp.layerNoDeps.pipe(
    Layer.provide([Layer.succeed(HttpClient.HttpClient, client), Layer.succeed(PlaneConfig, config), budget])
  )
  return { layer, sent, lines: () => sent.map(({ line }) => line) }
}

/** Runs an effect while the TestClock goes on, up to ten minutes. */
export const passing = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkChild(effect)
  for (let step = 0; step < 2_400 && fiber.pollUnsafe() === undefined; step++) yield* TestClock.adjust("250 millis")
  return yield* Fiber.join(fiber)
})

export const config: MachineConfig = machineConfig({
  image: "registry.example/project:1",
  size: "shared-cpu-1x",
  memoryMb: 256,
  volumeId: "vol_1",
  name: "vp1",
  planeId: "plane-1",
  internalSecret: "machine-secret",
  idleSuspend: "self"
})

export const machine = (changes: Readonly<Record<string, unknown>> = {}) => ({
  id: "m1",
  name: "vp1",
  state: "created",
  region: "sjc",
  instance_id: "01INSTANCE",
  private_ip: "fdaa::1",
  created_at: "2026-01-02T03:04:05Z",
  config: { ...config, services: [{ autostop: false }] },
  ...changes
})

export const volume = (changes: Readonly<Record<string, unknown>> = {}) => ({
  id: "vol_1",
  name: "vp1",
  state: "created",
  region: "sjc",
  size_gb: 1,
  attached_machine_id: null,
  created_at: "2026-01-02T03:04:05Z",
  ...changes
})
