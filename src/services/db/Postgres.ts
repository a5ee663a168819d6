/** The stores of the live plane, all in PostgreSQL: what the control plane's list of layers names. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlError } from "effect/sql/SqlError"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { Locks } from "../locks/Locks.ts"
import { layerLocksPg } from "../locks/LocksPg.ts"
import { Archives } from "./Archives.ts"
import { ChangeFeed } from "./ChangeFeed.ts"
import { Database, type DatabaseUrls } from "./Database.ts"
import { Machines } from "./Machines.ts"
import { type MigrationError, Migrations } from "./Migrations.ts"
import { Plane } from "./Plane.ts"
import { makeArchives } from "./postgres/ArchiveLedger.ts"
import { makeArchiveTransitions } from "./postgres/ArchiveTransitions.ts"
import { makeBin } from "./postgres/Bin.ts"
import { makeCreates } from "./postgres/Creates.ts"
import { makeDeletes } from "./postgres/Deletes.ts"
import { makeListener } from "./postgres/Listener.ts"
import { makeObservations } from "./postgres/Observations.ts"
import { makePlane } from "./postgres/PlaneLedger.ts"
import { makeProjectQueries } from "./postgres/ProjectQueries.ts"
import { makeProjectSettings } from "./postgres/ProjectSettings.ts"
import { makeProvisioning } from "./postgres/Provisioning.ts"
import { makeRehosts } from "./postgres/Rehosts.ts"
import { makeWakes } from "./postgres/Wakes.ts"
import { Projects } from "./Projects.ts"

const layerProjects = Layer.effectContext(
  Effect.gen(function* () {
    const { direct, reads, sql } = yield* Database
    const { changes, listening } = yield* makeListener(direct)
    const queries = makeProjectQueries(reads)
    const projects = Projects.of({
      ...queries,
      ...makeCreates(sql),
      ...makeWakes(sql, queries.find),
      ...makeArchiveTransitions(sql, queries.find),
      ...makeRehosts(sql, queries.find),
      ...makeDeletes(sql, queries.find),
      ...makeProjectSettings(sql),
      changes
    })
    return Context.make(Projects, projects).pipe(Context.add(ChangeFeed, { listening }))
  })
)

const layerMachines = Layer.effect(
  Machines,
  Effect.map(Database, ({ reads, sql }) =>
    Machines.of({ ...makeProvisioning(sql), ...makeBin(sql, reads), ...makeObservations(sql) })
  )
)

const layerArchives = Layer.effect(
  Archives,
  Effect.map(Database, ({ reads, sql }) => makeArchives(sql, reads))
)

const layerPlane = Layer.effect(
  Plane,
  Effect.gen(function* () {
    const { sql } = yield* Database
    const { pending } = yield* Migrations
    return makePlane(
      sql,
      Effect.map(pending, (names) => names.length === 0)
    )
  })
)

export type PostgresStores = Projects | Machines | Archives | Plane | Locks | ChangeFeed | Migrations | Database

/** Lazy: it builds while the database is down. Nothing is migrated; that is `Migrations.migrate`. */
export const layerPostgres = (urls: DatabaseUrls): Layer.Layer<PostgresStores, SqlError | MigrationError> =>
  layerLocksPg.pipe(
    Layer.provideMerge(Layer.mergeAll(layerProjects, layerMachines, layerArchives, layerPlane)),
    Layer.provideMerge(Migrations.layer),
    Layer.provideMerge(Database.layerUrls(urls))
  )

/** The same, from the plane's configuration. */
export const layerPostgresConfig: Layer.Layer<PostgresStores, SqlError | MigrationError, PlaneConfig> = Layer.unwrap(
  Effect.map(PlaneConfig, (config) => layerPostgres(config.database))
)
