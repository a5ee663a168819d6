/**
 * A part of Valet that takes input from outside, how inputs for it are made, and what must be so after each. fast-check
 * makes the inputs from a seed and shrinks one that breaks something; seed and path bring exactly that one back.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fc from "fast-check"
import { Violation } from "./Violation.ts"
import * as Watch from "./Watch.ts"

export interface Subject<A> {
  /** One input, and whether everything about what came of it is right. */
  readonly check: (input: A) => Effect.Effect<void, Violation>
  /** A valid request works as ever. */
  readonly probe: Effect.Effect<void, Violation>
  /** Must not be seen in the log. */
  readonly secrets?: () => ReadonlyArray<string>
}

export interface Definition<A> {
  readonly name: string
  /** What is fuzzed, in a few words. */
  readonly about: string
  /** Of a hundred inputs of a whole run. */
  readonly share: number
  /** In the quick run of the tests. */
  readonly quick: number
  readonly arbitrary: fc.Arbitrary<A>
  /** How many inputs one value stands for, such as the calls of a sequence. */
  readonly weight?: (input: A) => number
  /** The same on average, to choose the number of values. */
  readonly averageWeight?: number
  readonly open: Effect.Effect<Subject<A>, unknown, Scope.Scope>
  readonly expectedError?: (line: string) => boolean
  /** Connections stay open after an answer: those to the servers behind. */
  readonly keepsConnections?: boolean
}

export interface Plan {
  readonly inputs: number
  readonly seed: number
  /** Of a value that broke something: that one alone, and what it shrinks to. */
  readonly path: string | undefined
}

export interface Finding {
  readonly target: string
  readonly seed: number
  readonly path: string
  readonly detail: string
  /** The smallest input that still breaks it. */
  readonly input: string
}

export interface Outcome {
  readonly target: string
  readonly inputs: number
  readonly finding: Finding | null
}

export interface FuzzTarget {
  readonly name: string
  readonly about: string
  readonly share: number
  readonly quick: number
  readonly run: (plan: Plan) => Effect.Effect<Outcome, unknown>
}

/** Generous: the machine may be busy. An answer that needs longer is a hang. */
const limit = "30 seconds"
const probeEvery = 50

const openSockets = (): number => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length

const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

/** No connection is left of an input whose client has gone. */
const closed = (most: number): Effect.Effect<void, Violation> =>
  Effect.suspend(() => (openSockets() > most ? Effect.fail("open" as const) : Effect.void)).pipe(
    Effect.tapError(() => turn),
    Effect.retry({ times: 20 }),
    Effect.retry(Schedule.max([Schedule.spaced("5 millis"), Schedule.recurs(200)])),
    Effect.mapError(() => new Violation({ detail: "the server keeps the connection of a client that has gone" }))
  )

const short = (text: string): string =>
  (text.length > 2_000 ? `${text.slice(0, 2_000)}…` : text).replaceAll(/ {20,}/g, "  …  ")

const kindOf = ({ detail }: Violation): string => detail.replace(/[:{"].*$/s, "").replaceAll(/\d+/g, "#")

const hang = Effect.fail(new Violation({ detail: `no end within ${limit}` }))

export const target = <A>(definition: Definition<A>): FuzzTarget => {
  const { about, arbitrary, averageWeight = 1, name, quick, share, weight = () => 1 } = definition
  const run = ({ inputs, path, seed }: Plan): Effect.Effect<Outcome, unknown> =>
    Effect.gen(function* () {
      let secrets: () => ReadonlyArray<string> = () => []
      const watch = yield* Watch.make({
        secrets: () => secrets(),
        expected: definition.expectedError ?? (() => false)
      })
      return yield* Effect.gen(function* () {
        const sockets = openSockets()
        const subject = yield* definition.open
        secrets = subject.secrets ?? secrets
        yield* subject.probe
        yield* watch.look
        const context = yield* Effect.context()
        const once = Effect.runPromiseWith(context)
        const settled = definition.keepsConnections === true ? Effect.void : closed(sockets)
        let sent = 0
        let values = 0
        const checked = (input: A) =>
          Effect.gen(function* () {
            yield* subject.check(input)
            values += 1
            yield* settled
            if (values % probeEvery === 0 || path !== undefined) yield* subject.probe
          }).pipe(
            Effect.timeoutOrElse({ duration: limit, orElse: () => hang }),
            Effect.raceFirst(watch.crashed),
            Effect.ensuring(Effect.sync(() => void (sent += weight(input)))),
            Effect.andThen(watch.look)
          )
        // What shrinks must break the same thing, or the smallest input tells of another one.
        let broken: string | undefined
        const property = fc.asyncProperty(arbitrary, async (input) => {
          const problem = await once(Effect.flip(checked(input)).pipe(Effect.orElseSucceed(() => undefined)))
          if (problem === undefined) return
          broken ??= kindOf(problem)
          if (kindOf(problem) === broken) throw problem
        })
        const details = yield* Effect.promise(() =>
          fc.check(property, {
            seed,
            numRuns: Math.max(1, Math.ceil(inputs / averageWeight)),
            ...(path === undefined ? {} : { path })
          })
        )
        const finding = details.failed
          ? {
              target: name,
              seed: details.seed,
              path: details.counterexamplePath ?? "",
              detail: details.errorInstance instanceof Error ? details.errorInstance.message : "interrupted",
              input: short(fc.stringify(details.counterexample?.[0]))
            }
          : null
        if (finding === null) yield* Effect.andThen(subject.probe, watch.look)
        return { target: name, inputs: sent, finding }
      }).pipe(Effect.provide(watch.layer))
    }).pipe(Effect.scoped)
  return { name, about, share, quick, run }
}

/** A function that has to have a right answer to everything: nothing is started for it. */
export const pure = <A>(
  definition: Omit<Definition<A>, "open"> & { readonly check: (input: A) => string | undefined }
): FuzzTarget =>
  target({
    ...definition,
    open: Effect.succeed({
      check: (input: A) =>
        Effect.suspend(() => {
          const problem = definition.check(input)
          return problem === undefined ? Effect.void : Effect.fail(new Violation({ detail: problem }))
        }),
      probe: Effect.void
    })
  })
