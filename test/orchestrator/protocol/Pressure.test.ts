import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"
import { amount } from "../../support/amount.ts"
import { eventually } from "../../support/eventually.ts"
import { httpChild, rawChild } from "../support/Child.ts"
import { exchange } from "../support/Exchange.ts"
import { upgradeAnswer, upgradeRequest } from "../support/Frames.ts"
import { drain, pour, settled } from "../support/Pace.ts"
import { hostOn, pathOn, Subject } from "../support/Subject.ts"
import { frontAlone, suiteAlone } from "../support/Suite.ts"
import { dial } from "../support/Wire.ts"

const MiB = 1024 * 1024
const large = 256 * MiB
/**
 * Passes first. Node reads into buffers of 64 KiB, and V8 begins to take back those that nobody holds once they are
 * 64 MiB together (`kExternalAllocationSoftLimit` of its src/common/globals.h): after twice that, its heap is as high
 * as it gets. With 32 MiB before, what passed later grew by 48 MiB and once by 66 on a busy machine; with 128, by 31.
 */
const small = 128 * MiB
/** What the proxy's process may grow by when 256 MiB pass or wait after that; one that keeps them grows by 128. */
const growthLimit = 64 * MiB
/** What may be under way in the buffers of the two connections and of the proxy. */
const underWayLimit = 48 * MiB

/** Through the whole orchestrator goes an upload, a download and an upgraded connection; in a full run all of these do. */
const suite = amount(0, 1) === 1 ? suiteAlone : frontAlone

/** By how many bytes the proxy's process became larger than it ever was; each suite has a process of its own. */
const growth = <A, E, R>(warmUp: Effect.Effect<A, E, R>, during: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { held } = yield* Subject
    yield* warmUp
    const before = yield* held
    yield* during
    const after = yield* held
    return after.maxRss - before.maxRss
  })

/** A child that answers how much it received of what `pour` writes, and whether it was that. */
const counting = httpChild((request, response) => {
  const { received, whole } = drain(request)
  request.on("end", () => {
    response.end(
      `${received()} ${whole()} ${request.headers["content-length"]} ${request.headers["transfer-encoding"]}`
    )
  })
})

/** Upgraded by hand: two sockets, neither of them read. */
const tunnel = Effect.gen(function* () {
  const { port } = yield* Subject
  const accepted: Array<Socket> = []
  const child = yield* rawChild((socket) => {
    accepted.push(socket)
    socket.once("data", () => socket.pause().write(upgradeAnswer()))
  })
  const client = yield* dial(port)
  client.send(upgradeRequest("/ws", hostOn(child.port)))
  yield* client.until((text) => text.includes("\r\n\r\n"))
  client.socket.removeAllListeners("data").pause()
  const [server] = accepted
  if (server === undefined) return yield* Effect.die(new Error("no connection"))
  return { client: client.socket, server }
})

const upload = (total: number, headers: Record<string, string | number>) =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const child = yield* counting
    const { body, request } = yield* exchange(port, { method: "POST", path: `${pathOn(child.port)}/`, headers })
    pour(request, total)
    const length = headers["content-length"]
    const encoding = length === undefined ? "chunked" : undefined
    assert.strictEqual(yield* body, `${total} true ${length} ${encoding}`)
  })

suiteAlone("a chunked upload of 256 MiB", (it) => {
  it.effect("arrives whole in constant memory", () =>
    Effect.gen(function* () {
      assert.isBelow(yield* growth(upload(small, {}), upload(large, {})), growthLimit)
    })
  )
})

suite("an upload of 256 MiB with a length", (it) => {
  it.effect("arrives whole in constant memory", () =>
    Effect.gen(function* () {
      const grown = yield* growth(
        upload(small, { "content-length": small }),
        upload(large, { "content-length": large })
      )
      assert.isBelow(grown, growthLimit)
    })
  )
})

suite("a child that does not read", (it) => {
  it.effect("holds an upload back, and gets all of it once it reads", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const requests: Array<IncomingMessage> = []
      const child = yield* httpChild((request, response) => {
        requests.push(request)
        request.on("end", () => response.end("done"))
      })
      const held = (total: number) =>
        Effect.gen(function* () {
          const { body, request } = yield* exchange(port, { method: "POST", path: `${pathOn(child.port)}/` })
          const sent = pour(request, total)
          yield* eventually(Effect.sync(() => requests.length === 1))
          const stopped = yield* settled(sent)
          const [upload] = requests.splice(0)
          if (upload === undefined) return
          const { received, whole } = drain(upload)
          if (total === large) assert.isBelow(stopped, underWayLimit)
          assert.strictEqual(yield* body, "done")
          assert.deepStrictEqual([received(), whole()], [total, true])
        })
      assert.isBelow(yield* growth(held(small), held(large)), growthLimit)
    })
  )
})

suiteAlone("a client that does not read", (it) => {
  it.effect("holds a download of 256 MiB back, and gets all of it once it reads", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const held = (total: number) =>
        Effect.gen(function* () {
          let sent: (() => number) | undefined
          const child = yield* httpChild((_, response) => {
            response.writeHead(200, { "content-length": total })
            sent = pour(response, total)
          })
          const { response } = yield* exchange(port, { path: `${pathOn(child.port)}/` }).pipe(
            Effect.tap(({ request }) => Effect.sync(() => request.end()))
          )
          const answer = yield* response
          const stopped = yield* settled(() => sent?.() ?? 0)
          if (total === large) assert.isBelow(stopped, underWayLimit)
          const { received, whole } = drain(answer)
          yield* eventually(Effect.sync(() => answer.complete))
          assert.deepStrictEqual([received(), whole()], [total, true])
        })
      assert.isBelow(yield* growth(held(small), held(large)), growthLimit)
    })
  )
})

for (const fast of ["child", "client"] as const) {
  const upgraded = fast === "child" ? suiteAlone : suite
  upgraded(`an upgraded connection with a fast ${fast}`, (it) => {
    it.effect("pauses it while the other side does not read, and loses nothing", () =>
      Effect.gen(function* () {
        const held = (total: number) =>
          Effect.gen(function* () {
            const ends = yield* tunnel
            const [from, to] = fast === "child" ? [ends.server, ends.client] : [ends.client, ends.server]
            const sent = pour(from, total)
            const stopped = yield* settled(sent)
            if (total === large) assert.isBelow(stopped, underWayLimit)
            let ended = false
            const { received, whole } = drain(to)
            to.on("end", () => (ended = true))
            yield* eventually(Effect.sync(() => ended))
            assert.deepStrictEqual([received(), whole()], [total, true])
          })
        assert.isBelow(yield* growth(held(small), held(large)), growthLimit)
      })
    )
  })
}
