import { assert, it } from "@effect/vitest"
import * as Tail from "../../../src/orchestrator/process/Tail.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

it("keeps the last 50 lines, oldest first, whatever the pieces are", () => {
  const tail = Tail.make()
  const write = tail.writer()
  const text = Array.from({ length: 120 }, (_, i) => `line ${i} é\n`).join("")
  const all = bytes(text)
  for (let at = 0; at < all.length; at += 7) write(all.subarray(at, at + 7))
  assert.deepStrictEqual(
    tail.read(),
    Array.from({ length: 50 }, (_, i) => `line ${70 + i} é`)
  )
})

it("keeps the last 50 of a piece that holds more", () => {
  const tail = Tail.make()
  const write = tail.writer()
  write(bytes("begun "))
  write(bytes(Array.from({ length: 60 }, (_, i) => `${i}\n`).join("")))
  assert.deepStrictEqual(
    tail.read(),
    Array.from({ length: 50 }, (_, i) => String(10 + i))
  )
})

it("does not mix the lines of two streams, and shows what is not ended yet", () => {
  const tail = Tail.make()
  const [one, two] = [tail.writer(), tail.writer()]
  one(bytes("out"))
  two(bytes("err\nmore"))
  one(bytes("put\n"))
  assert.deepStrictEqual(tail.read(), ["err", "output", "more"])
})

it("cuts a line at 500 characters, also one that never ends, without keeping the rest", () => {
  const tail = Tail.make()
  const write = tail.writer()
  for (let i = 0; i < 1_000; i++) write(bytes("x".repeat(10_000)))
  assert.deepStrictEqual(tail.read(), ["x".repeat(500)])
  write(bytes("\nnext\n"))
  assert.deepStrictEqual(tail.read(), ["x".repeat(500), "next"])
})

it("leaves out colours, control characters and what turns text around", () => {
  const tail = Tail.make()
  tail.writer()(bytes("\u001b[31mred\u001b[0m\t\u0007b\u0000c\u202edef \u001b]0;title\u0007\r\n"))
  assert.deepStrictEqual(tail.read(), ["red bcdef"])
})
