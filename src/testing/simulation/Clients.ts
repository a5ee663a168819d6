/**
 * People and programs that use the plane: they create projects, come, write, read, leave, come back after minutes or
 * days, ask for sleep, change settings, delete. Each remembers what was acknowledged.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as ProjectId from "../../domain/ProjectId.ts"
import type { Edge, Outcome } from "./Edge.ts"
import type { Reply } from "./Instance.ts"
import type { Watch } from "./Watch.ts"
import type { Known, Witness } from "./Witness.ts"
import type { World } from "./World.ts"

const Created = Schema.fromJsonString(
  Schema.Struct({ project_id: ProjectId.ProjectId, deploy_key: Schema.String, state: Schema.String })
)
const decodeCreated = Schema.decodeUnknownOption(Created)

/** A request is answered within the router's patience and one replay, or it hangs; while an instance stands still it can't. */
const answeredWithinMs = 3 * 60_000
const minute = 60_000
/** Until every instance has heard of a deletion, or trusts no cached route any more. */
const deletedWithinMs = 5_000

const json = { "content-type": "application/json", host: "plane.example" }

export interface ClientsOptions {
  readonly world: World
  readonly edge: Edge
  readonly witness: Witness
  readonly watch: Pick<Watch, "bootOf">
  /** No new session begins after it. */
  readonly untilMs: number
}

export const make = ({ edge, untilMs, watch, witness, world }: ClientsOptions) => {
  const { dice, journal, time } = world
  const { habits } = world.profile
  const now = () => time.clock.currentTimeMillisUnsafe()

  const bounded = <A>(what: string, known: Known | null, request: Effect.Effect<A>): Effect.Effect<A | null> => {
    const begun = now()
    const stoodStillMs = world.stoodStillMs
    return request.pipe(
      Effect.tap(() =>
        Effect.sync(() => {
          const took = now() - begun - (world.stoodStillMs - stoodStillMs)
          if (took > answeredWithinMs) journal.violate("I5", `${what} was answered after ${took} ms`, known?.id ?? null)
        })
      ),
      Effect.timeoutOrElse({
        duration: 3 * answeredWithinMs,
        orElse: () =>
          Effect.sync(() => {
            journal.violate("I5", `${what} was never answered`, known?.id ?? null)
            return null
          })
      })
    )
  }

  const createsOf = new Map<string, Array<number>>()
  /** Each window of the documents, looked back from every accepted create. */
  const accepted = (client: string, at: number) => {
    const times = [...(createsOf.get(client) ?? []), at].toSorted((a, b) => a - b)
    createsOf.set(client, times)
    const { windows } = world.config.create
    if (windows === "off") return
    for (const { limit, windowMs } of windows) {
      for (const end of times) {
        const inside = times.filter((time) => time > end - windowMs && time <= end).length
        if (inside > limit) journal.violate("I12", `${client} created ${inside} projects in ${windowMs} ms`)
      }
    }
  }

  const create = (client: string): Effect.Effect<Known | null> =>
    Effect.gen(function* () {
      const reply = yield* bounded(
        "create",
        null,
        edge.ask({ method: "POST", path: "/api/projects", headers: { ...json, "fly-client-ip": client }, body: {} })
      )
      if (reply === null || reply.status !== 201) {
        journal.note(`create refused ${reply?.status ?? "broken"}`)
        return null
      }
      const created = Option.getOrNull(decodeCreated(reply.body))
      const project = created === null ? undefined : world.database.tables.projects.get(created.project_id)
      if (created === null || project === undefined) {
        journal.violate("I5", `a create was answered with ${reply.body}`)
        return null
      }
      journal.note(`created ${created.project_id} ${created.state}`)
      journal.count("operation creates")
      accepted(client, project.createdAt)
      return witness.created(created.project_id, project.uid, created.deploy_key, now())
    })

  const told = (
    known: Known,
    document: string,
    write: string | undefined,
    outcome: Outcome | null,
    begunAt: number | null
  ) => {
    if (outcome === null) return false
    if (outcome._tag === "Acknowledged") {
      witness.served(known, { ...outcome, at: now() })
      known.usedBoot = watch.bootOf(outcome.machineId)
      if (write === undefined) witness.read(known, document, outcome.value)
      else witness.written(known, document, write)
    } else if (write !== undefined && outcome._tag === "Broken") witness.unanswered(known, document, write)
    const what = write === undefined ? "read" : "write"
    // Whom it still has a connection with, the machine serves until it goes.
    const routed = begunAt !== null && known.deletedAt !== null && begunAt > known.deletedAt + deletedWithinMs
    if (outcome._tag === "Acknowledged" && routed) {
      journal.violate("I5", `${known.id} is served to a request of ${begunAt}, after it was deleted`, known.id)
    }
    const answer = outcome._tag === "Refused" ? `${outcome.status}` : outcome._tag
    journal.note(`client ${known.id} ${what} ${document} ${answer}`)
    journal.count(`client ${what} ${answer}`)
    if (outcome._tag === "Refused" && outcome.status === 404 && known.deletion === "none") {
      journal.violate("I5", `${known.id} exists and is answered with 404`, known.id)
    }
    return outcome._tag === "Acknowledged"
  }

  const use = (known: Known, document: string, write: string | undefined) =>
    Effect.suspend(() => {
      const begunAt = now()
      const request = { projectId: known.id, document, ...(write === undefined ? {} : { write }) }
      // Some keep a connection, or remember the machine, and never pass the router again.
      const moving = world.database.tables.projects.get(known.id)?.operation !== "none"
      const pinned =
        known.servedBy !== null && dice.chance(moving ? habits.straightWhileMoving : habits.straight)
          ? dice.pick([known.servedBy, ...known.servedBefore])
          : undefined
      return Effect.map(
        bounded("a request", known, pinned === undefined ? edge.send(request) : edge.straight(pinned, request)),
        (outcome) => told(known, document, write, outcome, pinned === undefined ? begunAt : null)
      )
    })

  /** One read through each instance, whatever it remembers of the project. */
  const readThroughAll = (known: Known) =>
    Effect.suspend(() => {
      const begunAt = now()
      const request = { projectId: known.id, document: "doc-0" }
      return Effect.forEach(
        edge.routers(),
        (router) =>
          Effect.map(bounded("a request", known, edge.send(request, router)), (outcome) =>
            told(known, "doc-0", undefined, outcome, begunAt)
          ),
        { concurrency: "unbounded", discard: true }
      )
    })

  /** A route that is wrong by now: the machine is another project's, and has to say so. */
  const strayed = (known: Known) =>
    Effect.gen(function* () {
      const other = dice.pick([...witness.projects.values()].filter((it) => it !== known && it.servedBy !== null))
      if (other?.servedBy == null) return
      const outcome = yield* edge.straight(other.servedBy, { projectId: known.id, document: "doc-0" })
      if (outcome._tag !== "Acknowledged") return
      witness.served(known, { ...outcome, at: known.usedAt })
    })

  /** Reads what it knows, until it is answered or gives up. */
  const read = (known: Known, document: string, tries: number) =>
    Effect.gen(function* () {
      for (let at = 0; at < tries; at++) {
        if (yield* use(known, document, undefined)) return true
        if (known.deletion !== "none") return false
        yield* Effect.sleep(dice.between(500, 10_000))
      }
      return false
    })

  /** Nobody waits for the end of the time asleep. */
  const pause = (ms: number) =>
    Effect.suspend(() => Effect.sleep(Math.max(0, Math.min(Math.round(ms), untilMs - now()))))

  const session = (known: Known, document: string) =>
    Effect.gen(function* () {
      if (!(yield* read(known, document, 5))) return
      for (let left = dice.between(1, 5); left > 0 && known.deletion === "none"; left--) {
        yield* Effect.sleep(Math.round(dice.exponential(dice.chance(0.2) ? 10 * minute : 5_000)))
        if (dice.chance(0.05)) yield* strayed(known)
        if (dice.chance(0.6)) yield* use(known, document, witness.nextValue())
        else yield* use(known, document, undefined)
      }
    })

  /** A connection that stays open for hours and never passes the router again: the server alone knows of it. */
  const connected = (known: Known, document: string) =>
    Effect.gen(function* () {
      if (!(yield* read(known, document, 5)) || known.servedBy === null) return
      const machineId = known.servedBy
      const opened = yield* world.machines.connect(machineId, known.id)
      if (opened._tag !== "Acknowledged") return
      journal.count("client connected")
      const until = now() + Math.round(dice.exponential(4 * 60 * minute))
      while (now() < Math.min(until, untilMs) && known.deletion === "none") {
        yield* pause(dice.between(1, 15) * minute)
        const write = witness.nextValue()
        const outcome = yield* edge.straight(machineId, { projectId: known.id, document, write })
        if (!told(known, document, write, outcome, null)) return
      }
    }).pipe(Effect.scoped)

  const owner = (known: Known) => ({ ...json, authorization: `Bearer ${known.deployKey}` })
  const path = (known: Known) => `/api/projects/${known.id}`

  const sleep = (known: Known) =>
    Effect.gen(function* () {
      known.forcedAt = now()
      const to = dice.chance(0.7) ? "dormant" : "suspended"
      const request = { method: "POST", path: `${path(known)}/sleep`, headers: owner(known), body: { to } } as const
      // An archive may take as long as its transfer; it is not held to a request's time.
      const reply: Reply | null = yield* edge.ask(request)
      known.forcedAt = now()
      journal.note(`sleep ${known.id} ${to} ${reply?.status ?? "broken"}`)
      journal.count(`api sleep ${reply?.status ?? "broken"}`)
    })

  const change = (known: Known) =>
    Effect.gen(function* () {
      const body = { idle_timeout_seconds: dice.between(60, 900) }
      const reply = yield* edge.ask({ method: "PATCH", path: path(known), headers: owner(known), body })
      journal.count(`api settings ${reply?.status ?? "broken"}`)
    })

  const remove = (known: Known) =>
    Effect.gen(function* () {
      if (dice.chance(0.5)) yield* readThroughAll(known)
      known.deletion = "asked"
      journal.note(`delete ${known.id}`)
      for (let at = 0; at < 20; at++) {
        const reply = yield* bounded(
          "delete",
          known,
          edge.ask({ method: "DELETE", path: path(known), headers: owner(known) })
        )
        journal.note(`delete ${known.id} ${reply?.status ?? "broken"}`)
        if (reply !== null && (reply.status === 204 || reply.status === 404)) {
          known.deletion = "done"
          known.deletedAt = now()
          journal.count("operation deletes")
          for (const after of [deletedWithinMs + 1_000, 20_000, 5 * minute]) {
            yield* Effect.sleep(after)
            yield* readThroughAll(known)
          }
          return
        }
        yield* Effect.sleep(dice.between(1_000, 30_000))
      }
    })

  /** One of a project's users; each writes a document of its own. */
  const user = (known: Known, document: string) =>
    Effect.gen(function* () {
      // Some come every few minutes, some once a day.
      const pauseMs = dice.magnitude(20 * minute, 24 * 60 * minute)
      while (now() < untilMs && known.deletion === "none") {
        yield* dice.chance(0.1) ? connected(known, document) : session(known, document)
        yield* pause(dice.exponential(pauseMs))
      }
    })

  /** Sleep is asked for while others begin to use it: operations meet each other. */
  const storm = (known: Known, users: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      while (now() < untilMs && known.deletion === "none") {
        yield* pause(dice.exponential(habits.stormMinutes * minute))
        if (now() >= untilMs) return
        const uses = (document: string) =>
          Effect.forEach(
            Array.from({ length: 4 }),
            () => Effect.andThen(pause(dice.magnitude(5, 5_000)), use(known, document, witness.nextValue())),
            { discard: true }
          )
        yield* Effect.all([sleep(known), ...users.map(uses)], { concurrency: "unbounded", discard: true })
      }
    })

  const ownerOf = (known: Known) =>
    Effect.gen(function* () {
      while (now() < untilMs && known.deletion === "none") {
        yield* pause(dice.exponential(habits.ownerMinutes * minute))
        if (now() >= untilMs) return
        const drawn = dice.next()
        yield* drawn < 0.5 ? sleep(known) : drawn < 0.7 ? change(known) : drawn < 0.9 ? remove(known) : Effect.void
      }
    })

  /** Creates a project, sooner or later, and uses it; once it is deleted, another one. */
  const life = (at: number) =>
    Effect.gen(function* () {
      while (now() < untilMs) yield* oneLife(at)
    })

  const oneLife = (at: number) =>
    Effect.gen(function* () {
      yield* pause(dice.exponential(2 * 60 * minute))
      let known: Known | null = null
      while (known === null && now() < untilMs) {
        known = yield* create(`198.51.100.${(at % 3) + 1}`)
        if (known === null) yield* Effect.sleep(dice.between(10_000, 5 * minute))
      }
      if (known === null) return
      const users = Array.from({ length: dice.between(1, 3) }, (_, index) => `doc-${index}`)
      const project = known
      // Documents of their own: what two clients do to one at once has no order to hold an answer to.
      const hot = dice.chance(habits.storms) ? [storm(project, ["hot-0", "hot-1", "hot-2"])] : []
      yield* Effect.all([...users.map((document) => user(project, document)), ownerOf(project), ...hot], {
        concurrency: "unbounded"
      })
    })

  /** Many creates at once, from one address, at all instances. */
  const burst = Effect.gen(function* () {
    while (now() < untilMs) {
      yield* pause(dice.exponential(habits.burstMinutes * minute))
      if (now() >= untilMs) return
      const created = yield* Effect.forEach(
        Array.from({ length: 8 }),
        () => Effect.andThen(Effect.sleep(dice.between(0, 200)), create("203.0.113.7")),
        { concurrency: "unbounded" }
      )
      for (const known of created) if (known !== null) yield* remove(known)
    }
  })

  /** Decides what is served next where machine and volume were lost together. */
  const operator = Effect.forever(
    Effect.gen(function* () {
      yield* Effect.sleep(10 * minute)
      for (const known of witness.projects.values()) {
        if (world.database.tables.projects.get(known.id)?.dataUnavailable !== true) continue
        if (known.deletion !== "none" || dice.chance(0.5)) continue
        const from = dice.pick(["archive", "snapshot", "empty"]) ?? "archive"
        const authorization = `Bearer ${Redacted.value(world.config.secret)}`
        const reply = yield* edge.ask({
          method: "POST",
          path: `${path(known)}/recover`,
          headers: { ...json, authorization },
          body: { from }
        })
        journal.note(`recover ${known.id} ${from} ${reply?.status ?? "broken"}`)
        journal.count(`api recover ${from} ${reply?.status ?? "broken"}`)
      }
    })
  )

  return { life, read, burst, operator }
}

export type Clients = ReturnType<typeof make>
