import { linkSync, mkdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { tail } from "../../../src/orchestrator/endpoints/LogTail.ts"
import { bearer, codeOf, logPath, problemOf, serve, type World } from "./support.ts"

const path = "/api/projects/apple/logs"
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => `line ${from + at}\n`).join("")
const write = (world: World, text: string | Buffer, name = "apple.log") => writeFileSync(logPath(world, name), text)

describe("logs", () => {
  it.live("the last lines, 200 unless told otherwise", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, numbered(1, 20_000))
      const reply = yield* call(path)
      assert.strictEqual(reply.status, 200)
      assert.strictEqual(reply.headers["content-type"], "text/plain; charset=utf-8")
      assert.strictEqual(reply.text, numbered(19_801, 20_000))
      assert.strictEqual((yield* call(`${path}?lines=1`)).text, "line 20000\n")
      // More than one block of the file.
      assert.strictEqual((yield* call(`${path}?lines=1000`)).text, numbered(19_001, 20_000))
    })
  )

  it.live("lines out of bounds are refused", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, "one\n")
      for (const lines of ["0", "-1", "1001", "1.5", "", "x", "1e9", "NaN", "Infinity", "1&lines=2"]) {
        const reply = yield* call(`${path}?lines=${lines}`)
        assert.strictEqual(reply.status, 400, lines)
        assert.strictEqual(codeOf(reply), problemOf("invalid_request"))
      }
    })
  )

  it.live("no file is 404, an empty one empty", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      const none = yield* call(path)
      assert.strictEqual(none.status, 404)
      assert.strictEqual(codeOf(none), problemOf("no_log"))
      write(world, "")
      const empty = yield* call(path)
      assert.strictEqual(empty.status, 200)
      assert.strictEqual(empty.text, "")
    })
  )

  it.live("a last line that has no newline yet is one of them", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, "one\ntwo\nhal")
      assert.strictEqual((yield* call(`${path}?lines=2`)).text, "two\nhal\n")
      write(world, "\n\n\n")
      assert.strictEqual((yield* call(`${path}?lines=2`)).text, "\n\n")
    })
  )

  it.live("one line longer than all that is read: its end, whole characters", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      // An odd number of bytes from the end: the cut goes through a character.
      write(world, `${"ä".repeat(1024 * 1024)}x`)
      const { status, text } = yield* call(path)
      assert.strictEqual(status, 200)
      assert.match(text, /^ä+x\n$/)
      assert.strictEqual(Buffer.byteLength(text), 1024 * 1024 - 1 + "\n".length)
    })
  )

  it.live("no more than 1 MiB, and no half line before whole ones", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      const line = `${"y".repeat(3_999)}\n`
      write(world, line.repeat(1_000))
      const { text } = yield* call(`${path}?lines=1000`)
      assert.strictEqual(text, line.repeat(Math.floor((1024 * 1024) / line.length)))
    })
  )

  it.live("a young file is completed from the one before it, also in the middle of a line", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, `${numbered(1, 10)}line `, "apple.log.1")
      write(world, `11\n${numbered(12, 13)}`)
      assert.strictEqual((yield* call(path)).text, numbered(1, 13))
      assert.strictEqual((yield* call(`${path}?lines=5`)).text, numbered(9, 13))
      assert.strictEqual((yield* call(`${path}?lines=3`)).text, numbered(11, 13))
      assert.strictEqual((yield* call(`${path}?lines=2`)).text, numbered(12, 13))
      renameSync(logPath(world, "apple.log"), logPath(world, "apple.log.1"))
      assert.strictEqual((yield* call(path)).text, `11\n${numbered(12, 13)}`)
    })
  )

  it.live("a file that is rotated while it is read is not told twice", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, numbered(1, 3))
      // What a rotation between the two openings looks like: both names are one file.
      linkSync(logPath(world, "apple.log"), logPath(world, "apple.log.1"))
      assert.strictEqual((yield* call(path)).text, numbered(1, 3))
    })
  )

  it.live("links, folders and pipes are no logs", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, "a secret\n", "secret")
      symlinkSync(logPath(world, "secret"), logPath(world, "apple.log"))
      assert.strictEqual((yield* call(path)).status, 404)
      symlinkSync(logPath(world, "secret"), logPath(world, "melon.log.1"))
      write(world, "fruit\n", "melon.log")
      assert.strictEqual((yield* call("/api/projects/melon/logs")).text, "fruit\n")
      mkdirSync(logPath(world, "folder.log"))
      assert.strictEqual((yield* call("/api/projects/folder/logs")).status, 404)
      assert.strictEqual(spawnSync("mkfifo", [logPath(world, "pipe.log")]).status, 0)
      assert.strictEqual((yield* call("/api/projects/pipe/logs")).status, 404)
    })
  )

  it.live("elsewhere than on this machine they need the token", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      write(world, "one\n")
      world.local = false
      const refused = yield* call(path)
      assert.strictEqual(refused.status, 401)
      assert.notInclude(refused.text, "one")
      assert.strictEqual((yield* call(path, { headers: bearer })).text, "one\n")
    })
  )

  it.live("the end of a huge log is read, not all of it", () =>
    Effect.gen(function* () {
      const { world } = yield* serve
      const file = logPath(world, "apple.log")
      // A hole: reading all of it would need as much memory.
      writeFileSync(file, "")
      truncateSync(file, 64 * 1024 ** 3)
      writeFileSync(file, "\nend\n", { flag: "a" })
      assert.strictEqual(yield* tail(file, 1, 1024 * 1024), "end\n")
    })
  )
})
