/**
 * Who uses projects: comes over a WebSocket or HTTP, reads what it knows, writes, leaves for a moment, until the machine
 * sleeps, or until the project is dormant, and comes back. Some projects are created, used and deleted meanwhile.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { ask, bearer, decodeCreated } from "../e2e/Platform.ts"
import type { DevRecord } from "../../src/local/dev/DevRecord.ts"
import type { Documents, Outcome } from "./Documents.ts"
import { asked, overHttp, overSocket, refusalOf } from "./Documents.ts"
import type { Tally } from "./Tally.ts"
import type { Witness } from "./Witness.ts"

export interface Project {
  readonly id: string
  deletion: "none" | "asked" | "done"
}

export interface UsersOptions {
  readonly dev: DevRecord
  readonly witness: Witness
  readonly tally: Tally
  /** Done when nobody begins anything any more. */
  readonly over: Deferred.Deferred<void>
}

const between = Random.nextIntBetween
const slots = 6

export const make = ({ dev, over, tally, witness }: UsersOptions) => {
  const projects: Array<Project> = []
  const isOver = () => Deferred.isDoneUnsafe(over)
  const pause = (ms: number) => Effect.asVoid(Effect.timeoutOption(Deferred.await(over), ms))

  const seen = (project: Project, what: string, outcome: Outcome) => {
    // One that is being deleted may be found or not.
    const status = outcome._tag === "Refused" ? outcome.refusal.status : 0
    if (project.deletion === "none" || status !== 404) tally.saw(`${what} ${project.id}`, outcome)
  }

  const write = (project: Project, documents: Documents, key: string) =>
    Effect.gen(function* () {
      const value = witness.next(project.id, key)
      // Until it is answered it may have happened, whatever becomes of this client.
      witness.unanswered(value)
      const outcome = yield* documents.put(value)
      seen(project, `write ${key}`, outcome)
      if (outcome._tag === "Done") witness.acknowledged(value)
      else if (outcome._tag === "Refused") witness.refused(value)
      return outcome._tag === "Done" || outcome._tag === "Refused"
    })

  const read = (project: Project, documents: Documents, key: string) =>
    Effect.gen(function* () {
      const outcome = yield* documents.get(key)
      seen(project, `read ${key}`, outcome)
      if (outcome._tag === "Done") witness.read(project.id, key, outcome.value)
      return outcome._tag === "Done"
    })

  /** The document of a slot that may still be written to. */
  const keyOf = (project: Project, user: string, slot: number): string => {
    for (let version = 0; ; version++) {
      const key = `${user}-${slot}-${version}`
      if (witness.writable(project.id, key)) return key
    }
  }

  /** False as soon as the connection is of no use any more. */
  const visit = (project: Project, user: string, documents: Documents) =>
    Effect.gen(function* () {
      const known = witness.keys(project.id).filter((key) => key.startsWith(`${user}-`))
      for (const key of (yield* Random.shuffle(known)).slice(0, 3)) {
        if (!(yield* read(project, documents, key))) return
      }
      for (let left = yield* between(1, 15); left > 0 && !isOver() && project.deletion === "none"; left--) {
        const key = keyOf(project, user, yield* between(0, slots))
        const done = (yield* Random.next) < 0.65 ? write(project, documents, key) : read(project, documents, key)
        if (!(yield* done)) return
        yield* pause(yield* between(20, 400))
      }
    })

  const session = (project: Project, user: string) =>
    Effect.gen(function* () {
      if ((yield* Random.next) < 0.3) return yield* visit(project, user, overHttp(dev, project.id))
      const connected = yield* Effect.result(overSocket(dev, project.id))
      if (connected._tag === "Failure") seen(project, "connect", connected.failure)
      else yield* visit(project, user, connected.success)
    }).pipe(Effect.scoped)

  const user = (project: Project, name: string) =>
    Effect.gen(function* () {
      while (!isOver() && project.deletion === "none") {
        yield* session(project, name)
        const drawn = yield* Random.next
        // A moment; until it is suspended; until it is dormant.
        yield* pause(
          yield* drawn < 0.35 ? between(50, 1_500) : drawn < 0.65 ? between(2_500, 5_000) : between(8_000, 20_000)
        )
      }
    })

  /** With its key, so that a create whose answer is lost is answered again and does not happen twice. */
  const create = (key: string) =>
    Effect.gen(function* () {
      const answer = yield* asked(
        ask(dev.edge, {
          method: "POST",
          path: "/api/projects",
          headers: { ...bearer(dev), "idempotency-key": key }
        })
      )
      if (answer._tag !== "Received") {
        tally.saw("create", answer)
        return yield* Effect.fail("again" as const)
      }
      const { received } = answer
      if (received.status !== 201) {
        // The one before is still at it.
        if (received.status !== 409) tally.refused("create", refusalOf(received))
        return yield* Effect.fail("again" as const)
      }
      const { project_id: id } = yield* Effect.orDie(decodeCreated(received.body))
      const project: Project = { id, deletion: "none" }
      projects.push(project)
      return project
    }).pipe(Effect.retry({ schedule: Schedule.spaced("1 second"), times: 60, while: () => !isOver() }), Effect.option)

  /** Until it is answered, also after everything is over. */
  const remove = (project: Project) =>
    Effect.gen(function* () {
      project.deletion = "asked"
      const path = `/api/projects/${project.id}`
      const answer = yield* asked(ask(dev.edge, { method: "DELETE", path, headers: bearer(dev) }))
      const status = answer._tag === "Received" ? answer.received.status : 0
      if (status === 204 || status === 404) {
        project.deletion = "done"
        return
      }
      if (answer._tag !== "Received") tally.saw(`delete ${project.id}`, answer)
      else if (status !== 409) tally.refused(`delete ${project.id}`, refusalOf(answer.received))
      return yield* Effect.fail("again" as const)
    }).pipe(Effect.retry({ schedule: Schedule.spaced("1 second"), times: 60 }), Effect.ignore)

  /** A deleted project is not found by anybody. */
  const staysAway = (project: Project) =>
    Effect.gen(function* () {
      if (project.deletion !== "done") return
      const answer = yield* asked(ask(dev.edge, { path: `/projects/${project.id}/documents/guest-0-0` }))
      if (answer._tag !== "Received" || answer.received.status === 404) return
      if (answer.received.status >= 500) return tally.refused(`deleted ${project.id}`, refusalOf(answer.received))
      tally.isWrong(`deleted ${project.id} answers ${answer.received.status} ${answer.received.body}`)
    })

  const guest = (name: string, seed: number) =>
    Effect.gen(function* () {
      for (let at = 0; !isOver(); at++) {
        const created = yield* create(`${name}-${at}`)
        if (Option.isNone(created)) return
        const project = created.value
        yield* session(project, "guest")
        yield* pause(yield* between(0, 9_000))
        yield* session(project, "guest")
        yield* remove(project)
        yield* staysAway(project)
        yield* pause(yield* between(1_000, 8_000))
      }
    }).pipe(Random.withSeed(`${seed} ${name}`))

  /** Comes to a project of its own, sooner or later. */
  const resident = (at: number, seed: number) =>
    Effect.gen(function* () {
      yield* pause(yield* between(0, 8_000))
      const created = yield* create(`resident-${at}`)
      if (Option.isNone(created)) return
      const names = at % 3 === 0 ? ["ann", "ben"] : ["ann"]
      yield* Effect.forEach(
        names,
        (name) => Effect.scoped(user(created.value, name)).pipe(Random.withSeed(`${seed} ${at} ${name}`)),
        { concurrency: "unbounded", discard: true }
      )
    }).pipe(Random.withSeed(`${seed} ${at}`))

  return { projects, read, write, remove, staysAway, resident, guest }
}

export type Users = ReturnType<typeof make>
