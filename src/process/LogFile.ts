/** A file that never grows beyond twice its limit: what is full becomes `<name>.1`, and the `.1` before it goes. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Semaphore from "effect/Semaphore"

/** One chunk after the other, however many write. */
export const append = (path: string, limitBytes: number) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const turn = yield* Semaphore.make(1)
    let size = yield* fs.stat(path).pipe(
      Effect.map((info) => Number(info.size)),
      Effect.orElseSucceed(() => 0)
    )
    const write = Effect.fnUntraced(function* (chunk: Uint8Array) {
      if (size > 0 && size + chunk.length > limitBytes) {
        yield* fs.rename(path, `${path}.1`)
        size = 0
      }
      yield* fs.writeFile(path, chunk.subarray(0, limitBytes), { flag: "a", mode: 0o600 })
      size += Math.min(chunk.length, limitBytes)
    })
    return (chunk: Uint8Array) => turn.withPermits(1)(write(chunk))
  })
