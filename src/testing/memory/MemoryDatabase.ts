/**
 * The database that all memory stores of a simulated world share. Its time is the clock that it was built under,
 * whatever the clocks of its clients say; a body runs synchronously, so it is as atomic as a transaction.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { ProjectEvent } from "../../domain/Event.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import type { Project } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { Written } from "../../domain/transitions/Rows.ts"
import type { Change } from "../../services/db/Projects.ts"
import { MemoryTables } from "./MemoryTables.ts"
import { MemorySessions } from "./MemorySessions.ts"

/** Every row at one moment. */
export interface Snapshot {
  readonly now: number
  readonly projects: ReadonlyMap<ProjectId, Project>
  readonly machines: ReadonlyArray<MachineRow>
  readonly archives: ReadonlyArray<ArchiveRow>
  readonly events: ReadonlyArray<ProjectEvent>
}

/** Changes that a slow subscriber may lag behind before it misses some, which its stream tells as a `Resync`. */
const changesKept = 1024

/** `at` numbers the messages, so that a subscriber notices what a full buffer dropped. */
interface Message {
  readonly at: number
  readonly change: Change
}

const resync: Change = { _tag: "Resync" }

export class MemoryDatabase extends Context.Service<
  MemoryDatabase,
  {
    readonly tables: MemoryTables
    readonly sessions: MemorySessions
    /** Runs the body at one moment of the database's time. */
    atomically<A>(body: (now: number) => A): Effect.Effect<A>
    /** Within a body: writes a transition's rows; subscribers are told when the body is over. */
    apply(written: Written, now: number): void
    /** Likewise, without a transition. */
    notify(projectId: ProjectId): void
    readonly changes: Stream.Stream<Change>
    /** As if every listener's connection had been lost and come back. */
    readonly dropListeners: Effect.Effect<void>
    readonly snapshot: Effect.Effect<Snapshot>
  }
>()("valet/testing/MemoryDatabase") {
  static readonly layer = Layer.effect(
    MemoryDatabase,
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const tables = new MemoryTables()
      const hub = yield* PubSub.sliding<Message>({ capacity: changesKept })
      let published = 0
      const pending: Array<Message> = []
      const notify = (change: Change) => {
        published += 1
        pending.push({ at: published, change })
      }
      // Publishing may run a waiting subscriber at once, which must not see the middle of a transaction.
      const atomically = <A>(body: (now: number) => A) =>
        Effect.suspend(() => {
          const result = body(clock.currentTimeMillisUnsafe())
          const messages = pending.splice(0)
          return messages.length === 0 ? Effect.succeed(result) : Effect.as(PubSub.publishAll(hub, messages), result)
        }).pipe(Effect.uninterruptible)

      const changes = Stream.unwrap(
        Effect.gen(function* () {
          const subscription = yield* PubSub.subscribe(hub)
          const since = published
          return Stream.fromSubscription(subscription).pipe(
            Stream.mapAccum(
              () => since,
              (last, { at, change }: Message) => [at, at === last + 1 ? [change] : [resync, change]] as const
            ),
            (following) => Stream.concat(Stream.succeed(resync), following)
          )
        })
      )

      return MemoryDatabase.of({
        tables,
        sessions: new MemorySessions(),
        atomically,
        apply: (written, now) => {
          tables.write(written, now)
          notify({ _tag: "Changed", projectId: written.project.projectId })
        },
        notify: (projectId) => notify({ _tag: "Changed", projectId }),
        changes,
        dropListeners: atomically(() => notify(resync)),
        snapshot: atomically((now) => ({
          now,
          projects: new Map(tables.projects),
          machines: [...tables.machines.values()],
          archives: [...tables.archives.values()],
          events: [...tables.projects.keys()].flatMap((id) => tables.eventsOf(id))
        }))
      })
    })
  )
}
