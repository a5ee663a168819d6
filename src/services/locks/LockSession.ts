/**
 * The session that holds this instance's advisory locks. Nothing else runs on it: only `pg_try_advisory_lock`, `unlock`
 * and a heartbeat. Whatever is not answered closes it, because then nobody here knows what it holds.
 *
 * A frozen process stops beating; the server ends the session after `idle_session_timeout` and frees its locks, and the
 * first thing that the process learns when it goes on is that its session is gone.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { describeCause } from "../db/postgres/Run.ts"

export interface LockSession {
  readonly connection: PgConnection.PgConnection
  /** Fails, with the reason, when the session has ended. */
  readonly lost: Deferred.Deferred<never, string>
  readonly scope: Scope.Closeable
}

/**
 * The beat bounds how long a task runs on after its session died. The server's patience is long enough for a process
 * that was only slow for a while.
 */
const limits = {
  beat: Duration.seconds(1),
  answer: Duration.seconds(2),
  serverPatience: Duration.seconds(9)
}

const startupParameters = (serverPatience: Duration.Duration) => ({
  idle_session_timeout: String(Duration.toMillis(serverPatience)),
  statement_timeout: String(Duration.toMillis(limits.answer)),
  tcp_keepalives_idle: "5",
  tcp_keepalives_interval: "2",
  tcp_keepalives_count: "2"
})

export const makeLockSessions = Effect.fnUntraced(function* (
  direct: PgConnection.Config,
  serverPatience: Duration.Duration = limits.serverPatience
) {
  const config = { ...direct, applicationName: "valet-locks", startupParameters: startupParameters(serverPatience) }
  const instance = yield* Effect.scope
  const opening = yield* Semaphore.make(1)
  let current: LockSession | undefined

  const close = (session: LockSession, reason: string) =>
    Effect.suspend(() => {
      if (current === session) current = undefined
      return Effect.andThen(Deferred.fail(session.lost, reason), Scope.close(session.scope, Exit.void))
    })

  /** Not interruptible by its caller: it ends with an answer, or with the session. */
  const ask = Effect.fnUntraced(function* (session: LockSession, sql: string, params: ReadonlyArray<unknown>) {
    const limit = yield* Effect.sleep(limits.answer).pipe(
      Effect.andThen(close(session, "no answer in time")),
      Effect.forkIn(instance)
    )
    const answer = yield* Effect.exit(session.connection.queryValues(sql, params))
    yield* Fiber.interrupt(limit)
    if (Exit.isFailure(answer)) {
      const reason = describeCause(answer.cause)
      yield* Effect.logWarning("the session of the advisory locks is lost", { reason })
      yield* close(session, reason)
      return undefined
    }
    return answer.value[0]?.[0]
  }, Effect.uninterruptible)

  const beat = (session: LockSession) =>
    ask(session, "SELECT 1", []).pipe(
      Effect.repeat({
        schedule: Schedule.spaced(limits.beat),
        until: (answer) => answer === undefined
      })
    )

  const open = Effect.gen(function* () {
    const scope = yield* Scope.fork(instance)
    const connected = yield* Effect.exit(Scope.provide(PgConnection.make(config), scope))
    if (Exit.isFailure(connected)) {
      yield* Scope.close(scope, Exit.void)
      return yield* Effect.failCause(connected.cause)
    }
    const session: LockSession = { connection: connected.value, lost: Deferred.makeUnsafe(), scope }
    current = session
    yield* beat(session).pipe(
      Effect.onError((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.void : close(session, describeCause(cause)))),
      Effect.forkIn(instance)
    )
    return session
  })

  /** The session there is, or a new one; opened in a fiber of its own, whose time limit holds whoever asks. */
  const session = opening.withPermit(
    Effect.suspend(() =>
      current === undefined ? Effect.flatMap(Effect.forkIn(open, instance), Fiber.join) : Effect.succeed(current)
    )
  )

  return { ask, close, session }
})
