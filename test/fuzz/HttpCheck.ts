/** Sends a request, and says what is wrong about the answer. */
import * as Effect from "effect/Effect"
import type { Request } from "./generate/Http.ts"
import { render } from "./generate/Http.ts"
import { answerProblem, isParsers } from "./Oracle.ts"
import { excerpt, Violation } from "./Violation.ts"
import { type Answer, exchange } from "./Wire.ts"

export interface HttpSubject {
  readonly port: number
  readonly secrets: () => ReadonlyArray<string>
  readonly statuses: ReadonlyArray<number>
  /** Of statuses from 500 on. */
  readonly codes: Readonly<Record<number, ReadonlyArray<string>>>
  /** What else is wrong about this answer. */
  readonly also?: (request: Request, answer: Answer) => string | undefined
  /** Where secrets are meant to be. */
  readonly mask?: (request: Request, text: string) => string
}

export const httpCheck = (subject: HttpSubject) => {
  const statuses = new Set(subject.statuses)
  return (request: Request): Effect.Effect<void, Violation> =>
    Effect.gen(function* () {
      const { bytes, honest } = render(request)
      const answerable = honest && request.method !== "CONNECT"
      const found = yield* exchange({
        port: subject.port,
        bytes,
        head: request.method === "HEAD",
        cut: !answerable
      })
      const text = subject.mask?.(request, found.text) ?? found.text
      const missing = answerable && found.answer === undefined ? `no answer: ${excerpt(text)}` : undefined
      const problem =
        missing ??
        answerProblem(
          { ...found, text },
          { secrets: subject.secrets(), statuses, codes: subject.codes, sent: bytes.toString("latin1") }
        ) ??
        (found.answer === undefined || isParsers(found.answer) ? undefined : subject.also?.(request, found.answer))
      if (problem !== undefined) return yield* new Violation({ detail: problem })
    })
}
