/**
 * One session of this instance that listens, and a hub for its subscribers. PostgreSQL keeps no notifications for those
 * who are away, so each connection begins with a `Resync`; a subscriber that falls too far behind gets one as well.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as ProjectId from "../../../domain/ProjectId.ts"
import type { Change } from "../Projects.ts"
import { describeCause } from "./Run.ts"

const channel = "valet_changes"

/** Changes that a subscriber may lag behind before it misses some. */
const kept = 1024

/** How soon a silent death of the session is noticed: at most the sum. */
const heartbeat = { every: Duration.seconds(3), timeout: Duration.seconds(2) }

/** For attempts to connect; a session that was established and is lost starts it anew. */
const reconnect = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/** `at` numbers the messages, so that a subscriber notices what a full buffer dropped. */
interface Message {
  readonly at: number
  readonly change: Change
}

const resync: Change = { _tag: "Resync" }

export const makeListener = Effect.fnUntraced(function* (direct: PgConnection.Config) {
  const hub = yield* PubSub.sliding<Message>({ capacity: kept })
  const listening = yield* Ref.make(false)
  let published = 0
  const publish = (change: Change) =>
    Effect.sync(() => {
      published += 1
      PubSub.publishUnsafe(hub, { at: published, change })
    })

  /** Fails where no session comes about, succeeds when one has ended. */
  const listen = Effect.scoped(
    Effect.gen(function* () {
      const connection = yield* PgConnection.make({ ...direct, applicationName: "valet-listen" })
      const session = yield* connection.pin
      const notifications = yield* session.listen(channel)
      yield* Effect.acquireRelease(Ref.set(listening, true), () => Ref.set(listening, false))
      yield* publish(resync)
      const beat = session
        .query("SELECT 1")
        .pipe(
          Effect.timeout(heartbeat.timeout),
          Effect.repeat(Schedule.spaced(heartbeat.every)),
          Effect.andThen(Effect.never)
        )
      const forward = Stream.fromQueue(notifications).pipe(
        Stream.runForEach(({ payload }) => {
          const projectId = ProjectId.parse(payload)
          return projectId === undefined ? Effect.void : publish({ _tag: "Changed", projectId })
        }),
        Effect.andThen(Effect.fail("the notification queue ended"))
      )
      yield* Effect.catchCause(Effect.raceFirst(forward, beat), (cause) =>
        Effect.logWarning("listening for changes: session lost", { reason: describeCause(cause) })
      )
    })
  )

  yield* listen.pipe(
    Effect.sandbox,
    Effect.tapError((cause) =>
      Effect.logWarning("listening for changes: no session", { reason: describeCause(cause) })
    ),
    Effect.retry(reconnect),
    Effect.repeat(Schedule.spaced("200 millis")),
    Effect.forkScoped
  )

  const changes: Stream.Stream<Change> = Stream.unwrap(
    Effect.gen(function* () {
      const subscription = yield* PubSub.subscribe(hub)
      const connected = yield* Ref.get(listening)
      const since = published
      return Stream.fromSubscription(subscription).pipe(
        Stream.mapAccum(
          () => since,
          (last, { at, change }: Message) => [at, at === last + 1 ? [change] : [resync, change]] as const
        ),
        // Without a session its next one brings the Resync; an earlier one would promise what nobody listens for yet.
        (following) => (connected ? Stream.concat(Stream.succeed(resync), following) : following)
      )
    })
  )

  return { changes, listening: () => Ref.getUnsafe(listening) }
})
