/**
 * `archive`: how fast the reference project server restores a database from the object store and archives it again, and
 * how much memory that takes, beside a bare script that does the same work. Both are processes on one core, started anew
 * for each round, since a volume takes one restore: so the first MiB bears the compiling of what moves it. They move the
 * same bytes, which lie in the page cache, from and to one store, a process on the other core.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { launch, makeStore, programs } from "./archive/Candidates.ts"
import { memoryFigures, type Peaks } from "./archive/Memory.ts"
import { move } from "./archive/Move.ts"
import type { Bench, Figure } from "./harness/Bench.ts"
import { alternate, figure } from "./harness/Rounds.ts"

interface Size {
  readonly name: string
  readonly bytes: number
  readonly rounds: number
}

const mib = 1024 ** 2
const mb = 1e6
const full: ReadonlyArray<Size> = [
  { name: "1 MiB", bytes: mib, rounds: 15 },
  { name: "10 MiB", bytes: 10 * mib, rounds: 11 },
  { name: "100 MiB", bytes: 100 * mib, rounds: 7 },
  { name: "1 GiB", bytes: 1024 * mib, rounds: 5 }
]
const quick: ReadonlyArray<Size> = [
  { name: "1 MiB", bytes: mib, rounds: 5 },
  { name: "10 MiB", bytes: 10 * mib, rounds: 5 },
  { name: "100 MiB", bytes: 100 * mib, rounds: 1 }
]

const run = (options: { readonly quick: boolean }) =>
  Effect.gen(function* () {
    const { bare, valet } = yield* programs
    const store = yield* makeStore
    const speeds: Array<Figure> = []
    const peaks: Array<Peaks> = []
    for (const { bytes, name, rounds } of options.quick ? quick : full) {
      yield* Console.error(`a database of ${name}`)
      const key = String(bytes)
      const stored = yield* store.fill(key, bytes)
      const perSecond = (ms: number) => stored.size / mb / (ms / 1_000)
      const round = (candidate: string, program: string) => ({
        name: candidate,
        round: Effect.gen(function* () {
          const moved = yield* move(yield* launch(candidate, program), store.port, key, stored)
          return {
            values: {
              restore: perSecond(moved.restoreMs),
              archive: perSecond(moved.archiveMs),
              peakMb: moved.peakBytes / mb
            },
            generatorCpu: moved.storeCpu
          }
        }).pipe(Effect.scoped)
      })
      const found = yield* alternate(name, rounds, [round("bare script", bare), round("valet", valet)])
      for (const direction of ["restore", "archive"] as const) {
        speeds.push(
          figure({
            name: `${direction}, ${name}`,
            unit: "MB/s",
            series: found.of("valet", direction),
            base: { name: "bare script", series: found.of("bare script", direction) },
            goal: { atLeast: 0.85 }
          })
        )
      }
      peaks.push({ size: name, valet: found.of("valet", "peakMb"), bare: found.of("bare script", "peakMb") })
    }
    return [...speeds, ...memoryFigures(peaks)]
  })

export const archive: Bench = {
  name: "archive",
  summary: "the project server: restore and archive of databases up to 1 GiB, and its memory",
  run
}
