/**
 * What happens beside the answers while inputs are sent: lines in the log, errors that nobody caught. A secret in a line,
 * a line of level Error or worse, and an uncaught error are each a violation.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import { excerpt, Violation } from "./Violation.ts"

interface Line {
  readonly level: string
  readonly text: string
}

export interface Watch {
  readonly layer: Layer.Layer<never>
  /** Fails with the next error that nobody catches. */
  readonly crashed: Effect.Effect<never, Violation>
  /** What has happened since it was asked last. */
  readonly look: Effect.Effect<void, Violation>
}

export interface WatchOptions {
  readonly secrets: () => ReadonlyArray<string>
  /** Errors that an input may well cause. */
  readonly expected: (text: string) => boolean
}

export const make = ({ expected, secrets }: WatchOptions): Effect.Effect<Watch, never, Scope.Scope> =>
  Effect.gen(function* () {
    let lines: Array<Line> = []
    let uncaught: Array<unknown> = []
    const logger = Logger.make((options) => {
      lines.push({ level: options.logLevel, text: Logger.formatJson.log(options) })
    })
    let onNext: (error: unknown) => void = () => {}
    const onUncaught = (error: unknown) => {
      uncaught.push(error)
      onNext(error)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        process.on("uncaughtException", onUncaught)
        process.on("unhandledRejection", onUncaught)
      }),
      () =>
        Effect.sync(() => {
          process.off("uncaughtException", onUncaught)
          process.off("unhandledRejection", onUncaught)
        })
    )
    const nobodyCaught = (error: unknown) => {
      const told = error instanceof Error ? (error.stack ?? error.message) : String(error)
      return Effect.fail(new Violation({ detail: `nobody caught ${excerpt(told)}` }))
    }
    return {
      crashed: Effect.callback<never, Violation>((resume) => {
        onNext = (error) => resume(nobodyCaught(error))
        return Effect.sync(() => void (onNext = () => {}))
      }),
      layer: Layer.merge(Logger.layer([logger]), Layer.succeed(References.MinimumLogLevel, "Trace")),
      look: Effect.suspend(() => {
        const [written, thrown] = [lines, uncaught]
        lines = []
        uncaught = []
        const [error] = thrown
        if (thrown.length > 0) return nobodyCaught(error)
        for (const { level, text } of written) {
          if (secrets().some((secret) => text.includes(secret))) {
            return Effect.fail(new Violation({ detail: `a secret in the log: ${excerpt(text)}` }))
          }
          if ((level === "Error" || level === "Fatal") && !expected(text)) {
            return Effect.fail(new Violation({ detail: `an error in the log: ${excerpt(text)}` }))
          }
        }
        return Effect.void
      })
    }
  })
