/** Two URLs: what stands between is taken for a transaction pooler, which keeps neither settings nor named statements. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { databaseLimits } from "../../../src/services/db/Database.ts"
import { Migrations } from "../../../src/services/db/Migrations.ts"
import { layerPostgres } from "../../../src/services/db/Postgres.ts"
import * as given from "../../contract/stores/Given.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { TestDatabase } from "../../support/TestDatabase.ts"

describe("behind a transaction pooler", () => {
  it.live("the limits are the role's own, and a whole life runs without settings of the session", () =>
    Effect.gen(function* () {
      const { query, url } = yield* TestDatabase
      const pooled = Redacted.make(`${Redacted.value(url)}?application_name=pooled`)
      const stores = layerPostgres({ url: pooled, directUrl: url })
      yield* Effect.gen(function* () {
        yield* Effect.flatMap(Migrations, ({ migrate }) => migrate)
        yield* given.dormant("red")
        yield* given.deleted("red")
      }).pipe(Effect.provide(Layer.merge(stores, layerStoreTime)))
      const rows = yield* query(
        `SELECT unnest(setconfig) AS setting FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
         WHERE r.rolname = current_user AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`
      )
      const settings = rows.map((row) => row["setting"])
      assert.include(settings, `statement_timeout=${databaseLimits.statement}`)
      assert.include(settings, `lock_timeout=${databaseLimits.lockWait}`)
    }).pipe(Effect.provide(TestDatabase.layer))
  )
})
