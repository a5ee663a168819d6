/**
 * Runs statements and says what a failure means. Reads are repeated while the database is unavailable, writes never: one
 * whose answer was lost may have been committed. What the server refused for contention did not happen, and is repeated.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import { databaseLimits } from "../Database.ts"
import { StoreError } from "../StoreError.ts"

type Reason = StoreError["reason"]

const serverCode = (error: SqlError): string => {
  const { cause } = error.reason
  return typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : ""
}

/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const reasonOf = (error: SqlError, kind: "read" | "write"): Reason => {
  const lost = kind === "read" ? "Unavailable" : "UnknownOutcome"
  switch (error.reason._tag) {
    case "ConnectionError":
      return error.reason.operation === "connect" ? "Unavailable" : lost
    case "DeadlockError":
    case "SerializationError":
    case "LockTimeoutError":
      return "Contention"
    case "StatementTimeoutError":
    case "AuthenticationError":
      return "Unavailable"
    default: {
      const code = serverCode(error)
      // The session was ended while the statement ran: administrator, crash, idle in transaction.
      if (/^(57P01|57P02|57P05|25P03)$/.test(code)) return lost
      // Starting up, database dropped, out of connections or memory, read-only after a failover: refused before doing anything.
      if (/^(57P03|57P04|53\d{3}|25006)$/.test(code)) return "Unavailable"
      return "Broken"
    }
  }
}

const detailOf = (error: SqlError): string => {
  const { cause } = error.reason
  const said = cause instanceof Error ? cause.message : error.message
  return `${error.reason._tag} ${serverCode(error)} ${said}`.replaceAll(/\s+/g, " ")
}

/** For logs: an SqlError's own rendering is a long stack without the server's message. */
export const describeCause = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return isSqlError(error) ? detailOf(error) : String(error)
}

export const storeError =
  (operation: string, kind: "read" | "write") =>
  (error: SqlError | Schema.SchemaError): StoreError =>
    error._tag === "SchemaError"
      ? new StoreError({ operation, reason: "Broken", detail: `unreadable row: ${error.message}` })
      : new StoreError({ operation, reason: reasonOf(error, kind), detail: detailOf(error) })

/** Quick ones only: who waited long for a lock has no time to wait again. */
const again = Schedule.exponential("50 millis").pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 2, duration: "1 second" }),
  Schedule.setInputType<StoreError>()
)

/** The schedule is made when a first attempt has failed: nearly all succeed. */
const repeated =
  (mayRepeat: (error: StoreError) => boolean) =>
  <A, R>(attempt: Effect.Effect<A, StoreError, R>): Effect.Effect<A, StoreError, R> =>
    Effect.catchIf(attempt, mayRepeat, () =>
      Effect.retry(Effect.delay(attempt, "50 millis"), { schedule: again, while: mayRepeat })
    )

/** A statement without effects. */
export const read =
  (operation: string) =>
  <A, R>(effect: Effect.Effect<A, SqlError | Schema.SchemaError, R>): Effect.Effect<A, StoreError, R> =>
    effect.pipe(
      Effect.mapError(storeError(operation, "read")),
      repeated((error) => error.retryable),
      Effect.withSpan(`db.${operation}`, {}, { captureStackTrace: false })
    )

/** One statement with effects. */
export const write =
  (operation: string) =>
  <A, R>(effect: Effect.Effect<A, SqlError | Schema.SchemaError, R>): Effect.Effect<A, StoreError, R> =>
    effect.pipe(
      Effect.mapError(storeError(operation, "write")),
      repeated((error) => error.reason === "Contention"),
      Effect.withSpan(`db.${operation}`, {}, { captureStackTrace: false })
    )

/** Where the session is gone its ROLLBACK fails too, as a defect beside the failure that matters. */
const withoutRollback = <E>(cause: Cause.Cause<E>): Effect.Effect<never, E | SqlError> => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure !== undefined) return Effect.fail(failure.error)
  const lost = cause.reasons.filter(Cause.isDieReason).find(({ defect }) => isSqlError(defect))?.defect
  return isSqlError(lost) ? Effect.fail(lost) : Effect.failCause(cause)
}

/** Several statements, all or nothing. */
export const transaction =
  (sql: SqlClient.SqlClient, operation: string) =>
  <A, R>(effect: Effect.Effect<A, SqlError | Schema.SchemaError, R>): Effect.Effect<A, StoreError, R> =>
    effect.pipe(
      sql.withTransaction,
      Effect.catchCause(withoutRollback),
      Effect.timeoutOrElse({
        duration: databaseLimits.client,
        orElse: () =>
          Effect.fail(
            new SqlError({
              reason: new ConnectionError({
                cause: new Error("the transaction was not answered in time"),
                message: "no answer in time",
                operation: "query"
              })
            })
          )
      }),
      write(operation)
    )
