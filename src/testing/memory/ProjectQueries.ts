/** What is read of the projects table without changing it. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Base64Url from "effect/encoding/Base64Url"
import type { Operation, Project, ProjectState } from "../../domain/Project.ts"
import * as ProjectId from "../../domain/ProjectId.ts"
import { isIdle } from "../../domain/transitions/Archive.ts"
import { leaseExpired } from "../../domain/transitions/Rows.ts"
import { type Projects, routeRow } from "../../services/db/Projects.ts"
import { StoreError } from "../../services/db/StoreError.ts"
import type { MemoryTables } from "./MemoryTables.ts"
import type { Run } from "./StoreFaults.ts"

type Queries = Pick<
  Projects["Service"],
  "find" | "routes" | "list" | "counts" | "running" | "idleCandidates" | "expiredLeases" | "events"
>

const byId = (a: Project, b: Project): number => (a.projectId < b.projectId ? -1 : 1)
/** UTC. */
const dayOf = (at: number): number => Math.floor(at / 86_400_000)
const newestFirst = (a: Project, b: Project): number => b.createdAt - a.createdAt || byId(b, a)

interface Cursor {
  readonly createdAt: number
  readonly projectId: ProjectId.ProjectId
}

const encodeCursor = ({ createdAt, projectId }: Cursor): string => Base64Url.encode(`${createdAt}:${projectId}`)

const decodeCursor = (cursor: string): Cursor | undefined => {
  const text = Result.getOrElse(Base64Url.decodeString(cursor), () => "")
  const match = /^(\d{1,16}):(.*)$/.exec(text)
  const projectId = ProjectId.parse(match?.[2] ?? "")
  return projectId === undefined ? undefined : { createdAt: Number(match?.[1]), projectId }
}

export const projectQueries = (tables: MemoryTables, run: Run): Queries => {
  const all = () => [...tables.projects.values()]
  return {
    find: (projectId) => run("find", () => Option.fromNullishOr(tables.viewOf(projectId))),

    routes: (projectIds) =>
      run(
        "routes",
        () =>
          new Map(
            projectIds.flatMap((projectId) => {
              const view = tables.viewOf(projectId)
              return view === null ? [] : [[projectId, routeRow(view)] as const]
            })
          )
      ),

    list: Effect.fnUntraced(function* ({ cursor, limit, state }) {
      const after = cursor === null ? null : decodeCursor(cursor)
      if (after === undefined) {
        return yield* new StoreError({ operation: "list", reason: "Broken", detail: "not a cursor" })
      }
      return yield* run("list", () => {
        const matching = all()
          .filter((project) => (state === null ? project.state !== "deleted" : project.state === state))
          .filter(
            (project) =>
              after === null ||
              project.createdAt < after.createdAt ||
              (project.createdAt === after.createdAt && project.projectId < after.projectId)
          )
          .toSorted(newestFirst)
        const projects = matching.slice(0, limit)
        const last = projects.at(-1)
        return { projects, next: last !== undefined && matching.length > limit ? encodeCursor(last) : null }
      })
    }),

    counts: run("counts", () => {
      const states: Record<ProjectState, number> = { active: 0, suspended: 0, dormant: 0, deleted: 0 }
      const operations: Record<Operation, number> = {
        none: 0,
        creating: 0,
        waking: 0,
        archiving: 0,
        rehosting: 0,
        deleting: 0
      }
      let dataUnavailable = 0
      for (const project of tables.projects.values()) {
        states[project.state] += 1
        if (project.state !== "deleted") operations[project.operation] += 1
        if (project.dataUnavailable) dataUnavailable += 1
      }
      return { states, operations, dataUnavailable }
    }),

    running: (limit) =>
      run("running", () => {
        const since = (project: Project) => tables.begunAt.get(project.projectId) ?? 0
        return all()
          .filter((project) => project.operation !== "none")
          .toSorted((a, b) => since(a) - since(b) || byId(a, b))
          .slice(0, limit)
      }),

    idleCandidates: ({ after, idleMs, limit }) =>
      run("idleCandidates", (now) =>
        all()
          .filter((project) => isIdle(project, idleMs, now))
          .filter(
            ({ lastActiveAt, projectId }) =>
              after === null ||
              dayOf(lastActiveAt) > dayOf(after.lastActiveAt) ||
              (dayOf(lastActiveAt) === dayOf(after.lastActiveAt) && projectId > after.projectId)
          )
          .toSorted((a, b) => dayOf(a.lastActiveAt) - dayOf(b.lastActiveAt) || byId(a, b))
          .slice(0, limit)
          .map(({ lastActiveAt, projectId }) => ({ lastActiveAt, projectId }))
      ),

    expiredLeases: (limit) =>
      run("expiredLeases", (now) =>
        all()
          .filter((project) => leaseExpired(project, now))
          .toSorted((a, b) => (a.leaseUntil ?? 0) - (b.leaseUntil ?? 0) || byId(a, b))
          .slice(0, limit)
      ),

    events: ({ before, limit, projectId }) =>
      run("events", () =>
        tables
          .eventsOf(projectId)
          .filter((event) => before === null || event.id < before)
          .toReversed()
          .slice(0, limit)
      )
  }
}
