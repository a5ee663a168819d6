/** `Projects` over the shared in-memory database: the transitions of `domain/transitions`, each in one atomic body. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Project } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { retryAfterMs } from "../../domain/RateLimit.ts"
import { abortArchive, beginArchive, commitArchive, startUpload } from "../../domain/transitions/Archive.ts"
import { beginDelete, commitDelete } from "../../domain/transitions/Delete.ts"
import { raiseGeneration, renew } from "../../domain/transitions/Lease.ts"
import { beginRehost, failRehost, recover } from "../../domain/transitions/Rehost.ts"
import { event, type ProjectRows, type Written } from "../../domain/transitions/Rows.ts"
import * as Wake from "../../domain/transitions/Wake.ts"
import {
  type Begun,
  type CreateOutcome,
  type CreateProject,
  Projects,
  type ProjectView,
  type Refused
} from "../../services/db/Projects.ts"
import { MemoryDatabase } from "./MemoryDatabase.ts"
import { projectQueries } from "./ProjectQueries.ts"
import { runner } from "./StoreFaults.ts"

/** Entries stand in the order of their moment: the head is dropped while it is out of every window. */
const dropExpired = <K, V>(entries: Map<K, V>, at: (value: V) => number, before: number) => {
  for (const [key, value] of entries) {
    if (at(value) > before) return
    entries.delete(key)
  }
}

const identity = (entry: { readonly client: string; readonly key: string }) => JSON.stringify([entry.client, entry.key])

const hourMs = 60 * 60_000

export const layerProjects = Layer.effect(
  Projects,
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const { tables } = database
    const run = yield* runner(database)

    /** The transition of a project that exists, or null. */
    const transit = (
      projectId: ProjectId,
      now: number,
      transition: (rows: ProjectRows) => Written | null
    ): Project | null => {
      const project = tables.projects.get(projectId)
      const written = project === undefined ? null : transition(tables.rowsOf(project))
      if (written === null) return null
      database.apply(written, now)
      return written.project
    }
    const refused = (projectId: ProjectId): Refused => ({ _tag: "Refused", view: tables.viewOf(projectId) })
    const begun = (written: Written): Begun => ({
      _tag: "Begun",
      project: written.project,
      machine:
        written.machines.find((row) => row.status === "assigned" && row.generation === written.project.generation) ??
        null,
      archive: tables.archivesOf(written.project.uid).find((row) => row.status === "current") ?? null
    })

    const repeated = (input: CreateProject, now: number): ProjectView | null => {
      dropExpired(tables.idempotency, ({ at }) => at, now - Wake.idempotencyMs)
      const earlier = input.idempotency === null ? undefined : tables.idempotency.get(identity(input.idempotency))
      return earlier === undefined ? null : tables.viewOf(earlier.projectId)
    }
    const create = (input: CreateProject, now: number): CreateOutcome => {
      const earlier = repeated(input, now)
      if (earlier !== null) return { _tag: "Repeated", view: earlier }
      const { idempotency, limit } = input
      const longest = Math.max(0, ...(limit?.windows ?? []).map((window) => window.windowMs))
      const accepted = limit === null ? [] : (tables.accepted.get(limit.client) ?? [])
      const wait = limit === null ? 0 : retryAfterMs(accepted, limit.windows, now)
      if (wait > 0) return { _tag: "RateLimited", retryAfterMs: wait }
      if (tables.projects.has(input.projectId) || tables.hasUid(input.uid)) return { _tag: "Exists" }
      if (limit !== null) {
        tables.accepted.delete(limit.client)
        tables.accepted.set(limit.client, [...accepted.filter((at) => at > now - longest), now])
        dropExpired(tables.accepted, (times) => times.at(-1) ?? 0, now - Math.max(longest, hourMs))
      }
      if (idempotency !== null) tables.idempotency.set(identity(idempotency), { projectId: input.projectId, at: now })
      const written = Wake.create(input, Wake.oldestReady(tables.machines.values(), input.claim), now)
      database.apply(written, now)
      return begun(written)
    }

    return Projects.of({
      ...projectQueries(tables, run),
      changes: database.changes,
      create: (input) => run("create", (now) => create(input, now)),

      beginWake: (input) =>
        run("beginWake", (now) => {
          const project = tables.projects.get(input.projectId)
          if (project === undefined) return refused(input.projectId)
          const ready = Wake.oldestReady(tables.machines.values(), input.claim)
          const written = Wake.beginWake(tables.rowsOf(project), input, ready, now)
          if (written === null) return refused(input.projectId)
          database.apply(written, now)
          return begun(written)
        }),
      renew: (lease, leaseMs) =>
        run("renew", (now) => {
          const project = tables.projects.get(lease.projectId)
          const renewed = project === undefined ? null : renew(project, lease, leaseMs, now)
          if (renewed !== null) tables.putProject(renewed, now)
          return renewed !== null
        }),
      commitActive: (input) =>
        run("commitActive", (now) =>
          transit(input.lease.projectId, now, (rows) => Wake.commitActive(rows, input, now)) === null
            ? null
            : tables.viewOf(input.lease.projectId)
        ),
      failWake: (input) =>
        run(
          "failWake",
          (now) => transit(input.lease.projectId, now, (rows) => Wake.failWake(rows, input, now)) !== null
        ),
      expireWake: (projectId) =>
        run("expireWake", (now) => transit(projectId, now, (rows) => Wake.expireWake(rows, now)) !== null),

      beginArchive: (input) =>
        run("beginArchive", (now) => {
          const project = tables.projects.get(input.projectId)
          const began = project === undefined ? null : beginArchive(tables.rowsOf(project), input, now)
          if (began === null) return refused(input.projectId)
          database.apply(began.written, now)
          return { _tag: "Begun", project: began.written.project, machine: began.machine }
        }),
      startUpload: (input) =>
        run("startUpload", (now) => {
          const taken = tables.archives.get(input.r2Key)
          if (taken !== undefined && taken.projectId !== input.lease.projectId) return false
          return transit(input.lease.projectId, now, (rows) => startUpload(rows, input, now)) !== null
        }),
      commitArchive: (input) =>
        run(
          "commitArchive",
          (now) => transit(input.lease.projectId, now, (rows) => commitArchive(rows, input, now)) !== null
        ),
      abortArchive: (input) =>
        run("abortArchive", (now) =>
          transit(input.projectId, now, (rows) => abortArchive(rows, input, now)) === null
            ? null
            : tables.viewOf(input.projectId)
        ),

      beginRehost: (input) =>
        run("beginRehost", (now) => {
          const project = tables.projects.get(input.projectId)
          const began = project === undefined ? null : beginRehost(tables.rowsOf(project), input, now)
          if (began === null) return refused(input.projectId)
          database.apply(began.written, now)
          return { _tag: "Begun", project: began.written.project, machine: began.machine }
        }),
      failRehost: (input) =>
        run(
          "failRehost",
          (now) => transit(input.lease.projectId, now, (rows) => failRehost(rows, input, now)) !== null
        ),
      raiseGeneration: (lease, newest) =>
        run("raiseGeneration", (now) => {
          const raised = transit(lease.projectId, now, (rows) => raiseGeneration(rows, lease, newest))
          return raised === null ? null : { ...lease, generation: raised.generation }
        }),

      beginDelete: (input) =>
        run("beginDelete", (now) => {
          const project = transit(input.projectId, now, (rows) => beginDelete(rows, input, now))
          return project === null ? refused(input.projectId) : { _tag: "Begun", project }
        }),
      commitDelete: (input) =>
        run(
          "commitDelete",
          (now) => transit(input.lease.projectId, now, (rows) => commitDelete(rows, input, now)) !== null
        ),
      recover: (input) => run("recover", (now) => transit(input.projectId, now, (rows) => recover(rows, input, now))),

      updateSettings: (projectId, patch) =>
        run("updateSettings", (now) => {
          const changed = transit(projectId, now, ({ project }) => {
            if (project.state === "deleted") return null
            const after = { ...project, settings: { ...project.settings, ...patch } }
            return {
              project: after,
              machines: [],
              archives: [],
              events: [event("settings_changed", after, { ...patch })]
            }
          })
          return changed === null ? Option.none() : Option.fromNullishOr(tables.viewOf(projectId))
        }),
      touch: (projectIds) =>
        run("touch", (now) => {
          for (const projectId of projectIds) {
            const project = tables.projects.get(projectId)
            if (project === undefined || project.state === "deleted") continue
            tables.putProject({ ...project, lastActiveAt: now }, now)
          }
        }),
      record: ({ detail, kind, projectId }) =>
        run("record", (now) => {
          const project = tables.projects.get(projectId)
          if (project !== undefined) tables.append(projectId, [event(kind, project, detail)], now)
        })
    })
  })
)
