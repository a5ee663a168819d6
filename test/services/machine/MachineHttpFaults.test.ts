import { createServer, type RequestListener } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { MachineName } from "../../../src/domain/Machine.ts"
import { Keys } from "../../../src/services/Keys.ts"
import { MachineClient, type Target } from "../../../src/services/machine/MachineClient.ts"
import { layerMachineHttp, layerMachineHttpClient } from "../../../src/services/machine/MachineHttp.ts"
import { configured, layerTestKeys } from "./fakes.ts"

const health = { status: "ok", project_id: null, generation: 0, connections: 0, sealed: false }
const keys = layerTestKeys(configured({}))

const target = Effect.map(Keys, ({ currentKeyId }): Target => ({
  name: MachineName.make("v1"),
  machineId: "3d8d",
  privateIp: "fdaa:0:1::2",
  keyId: currentKeyId
}))

/** A client whose every request is answered by this function of its URL. */
const answering = (respond: (url: string, authorization: string) => Response | string) =>
  Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request, url) => {
      const answer = respond(url.href, request.headers.authorization ?? "")
      return typeof answer === "string"
        ? Effect.fail(
            new HttpClientError.HttpClientError({
              reason: new HttpClientError.TransportError({
                request,
                cause: Object.assign(new Error(), { code: answer })
              })
            })
          )
        : Effect.succeed(HttpClientResponse.fromWeb(request, answer))
    })
  )

const over = (client: Layer.Layer<HttpClient.HttpClient>) =>
  layerMachineHttp.pipe(Layer.provide([configured({}), client]), Layer.provideMerge(keys))

/** One request to a server that does as it likes. */
const against = (listener: RequestListener) =>
  Effect.gen(function* () {
    const server = createServer(listener)
    const url = yield* Effect.acquireRelease(
      Effect.callback<string>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(`http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/{machine_id}`))
        })
      }),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    const layer = layerMachineHttp.pipe(
      Layer.provide([configured({ VALET_MACHINE_URL: url }), layerMachineHttpClient]),
      Layer.provideMerge(keys)
    )
    return yield* Effect.gen(function* () {
      const client = yield* MachineClient
      const machine = { ...(yield* target), privateIp: null }
      const error = yield* Effect.flip(client.health(machine, { limitMs: 5_000, attempts: 1 }))
      return error.reason
    }).pipe(Effect.provide(layer))
  })

describe("MachineHttp", () => {
  it.effect("calls the machine's name with the machine's own secret", () => {
    const seen: Array<string> = []
    const client = answering((url, authorization) => {
      seen.push(url, authorization)
      return Response.json(health)
    })
    return Effect.gen(function* () {
      const secret = yield* (yield* Keys).machineSecret(MachineName.make("v1"), (yield* Keys).currentKeyId)
      yield* (yield* MachineClient).health(yield* target, { limitMs: 1_000 })
      assert.strictEqual(seen[0], "http://3d8d.vm.projects.internal:3000/health")
      assert.match(seen[1] ?? "", /^Bearer [\w-]{43}$/)
      assert.notInclude(String(secret), seen[1]?.slice(7) ?? "")
    }).pipe(Effect.provide(over(client)))
  })

  it.effect.each(["ENOTFOUND", "ECONNREFUSED", "UND_ERR_CONNECT_TIMEOUT"])("tries the address after %s", (code) => {
    const client = answering((url) => (url.includes(".internal") ? code : Response.json(health)))
    return Effect.gen(function* () {
      const answer = yield* (yield* MachineClient).health(yield* target, { limitMs: 1_000, attempts: 1 })
      assert.deepStrictEqual(answer, health)
    }).pipe(Effect.provide(over(client)))
  })

  it.effect("does not say a second time at the address what may have arrived at the name", () => {
    const seen: Array<string> = []
    const client = answering((url) => {
      seen.push(url)
      return "ECONNRESET"
    })
    return Effect.gen(function* () {
      const call = (yield* MachineClient).health(yield* target, { limitMs: 1_000, attempts: 1 })
      assert.strictEqual((yield* Effect.flip(call)).reason._tag, "Unreachable")
      assert.deepStrictEqual(seen, ["http://3d8d.vm.projects.internal:3000/health"])
    }).pipe(Effect.provide(over(client)))
  })

  it.effect("takes a refusal from the address for another machine's", () => {
    const client = answering((url) => (url.includes(".internal") ? "ENOTFOUND" : new Response("", { status: 401 })))
    return Effect.gen(function* () {
      const call = (yield* MachineClient).health(yield* target, { limitMs: 1_000, attempts: 1 })
      assert.strictEqual((yield* Effect.flip(call)).reason._tag, "Unreachable")
    }).pipe(Effect.provide(over(client)))
  })

  it.effect("a row without id and address is unreachable at once", () =>
    Effect.gen(function* () {
      const nowhere = { ...(yield* target), machineId: null, privateIp: null }
      const error = yield* Effect.flip((yield* MachineClient).health(nowhere, { limitMs: 1_000 }))
      assert.strictEqual(error.reason._tag, "Unreachable")
    }).pipe(Effect.provide(over(answering(() => Response.json(health)))))
  )

  it.effect("a key id that no secret has is refused without a request", () =>
    Effect.gen(function* () {
      const forgotten = { ...(yield* target), keyId: "00000000" }
      const error = yield* Effect.flip((yield* MachineClient).health(forgotten, { limitMs: 1_000 }))
      assert.deepInclude(error.reason, { _tag: "Refused", status: 401 })
    }).pipe(Effect.provide(over(answering(() => Response.json(health)))))
  )

  it.effect.each([
    [200, "<html>", "Refused"],
    [200, "{}", "Refused"],
    [401, "", "Refused"],
    [404, "", "Refused"],
    [409, '{"error":"else"}', "Refused"],
    [422, '{"error":"restore_failed","detail":"x"}', "Refused"],
    [500, "", "Refused"],
    [502, "", "Unreachable"],
    [503, "", "Unreachable"]
  ] as const)("an answer %s %s of health is %s", ([status, text, tag]) =>
    Effect.gen(function* () {
      const call = (yield* MachineClient).health(yield* target, { limitMs: 1_000, attempts: 1 })
      assert.strictEqual((yield* Effect.flip(call)).reason._tag, tag)
    }).pipe(Effect.provide(over(answering(() => new Response(text, { status })))))
  )

  it.live("does not follow redirects", () =>
    Effect.gen(function* () {
      let followed = false
      const reason = yield* against((request, response) => {
        followed ||= request.url !== "/3d8d/health"
        response.writeHead(302, { location: "/elsewhere" }).end()
      })
      assert.deepInclude(reason, { _tag: "Refused", status: 302 })
      assert.isFalse(followed)
    })
  )

  it.live("stops reading an answer that has no end", () =>
    Effect.gen(function* () {
      const reason = yield* against((_, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        const more = () => {
          while (!response.destroyed && response.write(" ".repeat(16_384)));
          if (!response.destroyed) response.once("drain", more)
        }
        more()
      })
      assert.deepInclude(reason, { _tag: "Refused", detail: "its answer has no end" })
    })
  )

  it.live("an answer that is cut may have been given", () =>
    Effect.gen(function* () {
      const reason = yield* against((_, response) => {
        response.writeHead(200, { "content-length": "100" })
        response.write("{")
        response.destroy()
      })
      assert.strictEqual(reason._tag, "Unreachable")
    })
  )
})
