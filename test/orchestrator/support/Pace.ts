/** Senders and readers whose progress a test watches. */
import * as Effect from "effect/Effect"
import type { Readable, Writable } from "node:stream"
import { eventually } from "../../support/eventually.ts"

/** Waits until a number has not changed for a third of a second: a stop, on a machine that is not itself stopped. */
export const settled = (value: () => number): Effect.Effect<number, unknown> => {
  let last = Number.NaN
  let same = 0
  return eventually(
    Effect.sync(() => {
      same = value() === last ? same + 1 : 0
      last = value()
      return same > 16
    })
  ).pipe(Effect.map(() => last))
}

const block = Buffer.alloc(65_536, "valet ")

/** Writes as fast as it is taken; a block at a time, the last one cut to fit. Ends the stream. */
export const pour = (to: Writable, total: number): (() => number) => {
  let sent = 0
  const more = () => {
    while (sent < total && !to.destroyed) {
      const size = Math.min(block.length, total - sent)
      sent += size
      if (!to.write(size === block.length ? block : block.subarray(0, size))) return
    }
    to.off("drain", more)
    to.end()
  }
  to.on("drain", more)
  more()
  return () => sent
}

/** Counts, and compares with what `pour` writes. */
export const drain = (from: Readable): { readonly received: () => number; readonly whole: () => boolean } => {
  let received = 0
  let same = true
  from.on("data", (chunk: Buffer) => {
    for (let at = 0; at < chunk.length;) {
      const start = (received + at) % block.length
      const size = Math.min(block.length - start, chunk.length - at)
      same = same && block.compare(chunk, at, at + size, start, start + size) === 0
      at += size
    }
    received += chunk.length
  })
  from.resume()
  return { received: () => received, whole: () => same }
}
