import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Database } from "../../../src/services/db/Database.ts"
import { type Migration, Migrations } from "../../../src/services/db/Migrations.ts"
import { layerPostgres } from "../../../src/services/db/Postgres.ts"
import { Plane } from "../../../src/services/db/Plane.ts"
import { statementsOf } from "../../../src/services/db/SqlScript.ts"
import { TestDatabase } from "../../support/TestDatabase.ts"

/** The migrations of one build, on the test's database. */
const build = (migrations: Layer.Layer<Migrations, unknown, Database>) =>
  Effect.gen(function* () {
    const { url } = yield* TestDatabase
    const layer = migrations.pipe(Layer.provide(Database.layerUrls({ url, directUrl: url })))
    return yield* Effect.provide(Migrations, yield* Layer.build(Layer.fresh(layer)))
  })

const migration = (id: number, name: string, ...statements: ReadonlyArray<string>): Migration => ({
  id,
  name,
  statements
})
const one = migration(1, "0001_one", "CREATE TABLE valet.one (n int)", "INSERT INTO valet.one VALUES (1)")
const two = migration(2, "0002_two", "ALTER TABLE valet.one ADD m int")

const applied = Effect.gen(function* () {
  const { query } = yield* TestDatabase
  return (yield* query("SELECT name FROM valet.migrations ORDER BY id")).map((row) => row["name"])
})

describe("migrations", () => {
  it.live("this package's make the plane ready, and run once", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase
      const context = yield* Layer.build(Layer.fresh(layerPostgres({ url, directUrl: url })))
      const plane = yield* Effect.provide(Plane, context)
      const { migrate, pending } = yield* Effect.provide(Migrations, context)
      assert.isFalse(yield* plane.ready)
      const names = yield* pending
      assert.isAbove(names.length, 0)
      assert.deepStrictEqual(yield* migrate, names)
      assert.deepStrictEqual(yield* migrate, [])
      assert.deepStrictEqual(yield* pending, [])
      assert.isTrue(yield* plane.ready)
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )

  it.live("of several starters one runs each, and all find it done", () =>
    Effect.gen(function* () {
      const builds = yield* Effect.forEach([1, 2, 3, 4, 5], () => build(Migrations.layer))
      const ran = yield* Effect.forEach(builds, ({ migrate }) => migrate, { concurrency: "unbounded" })
      assert.strictEqual(ran.filter((names) => names.length > 0).length, 1)
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )

  it.live("only what is pending", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* (yield* build(Migrations.layerOf([one]))).migrate, ["0001_one"])
      const newer = yield* build(Migrations.layerOf([one, two]))
      assert.deepStrictEqual(yield* newer.pending, ["0002_two"])
      assert.deepStrictEqual(yield* newer.migrate, ["0002_two"])
      assert.deepStrictEqual(yield* applied, ["0001_one", "0002_two"])
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )

  it.live("one that fails leaves nothing of the others behind", () =>
    Effect.gen(function* () {
      const { query } = yield* TestDatabase
      const broken = migration(2, "0002_broken", "CREATE TABLE valet.two (n int)", "SELECT 1 / 0")
      const error = yield* Effect.flip((yield* build(Migrations.layerOf([one, broken]))).migrate)
      assert.include(error.message, "division by zero")
      const left = yield* query("SELECT to_regclass('valet.one') AS one, to_regclass('valet.two') AS two")
      assert.deepStrictEqual(left, [{ one: null, two: null }])
      assert.deepStrictEqual(yield* (yield* build(Migrations.layerOf([one, two]))).migrate, ["0001_one", "0002_two"])
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )

  it.live("a database of a newer build is refused, while a running older one stays ready", () =>
    Effect.gen(function* () {
      const older = yield* build(Migrations.layerOf([one]))
      yield* older.migrate
      yield* (yield* build(Migrations.layerOf([one, two]))).migrate
      assert.deepStrictEqual(yield* older.pending, [])
      const error = yield* Effect.flip(older.migrate)
      assert.strictEqual(error._tag, "MigrationError")
      assert.strictEqual(error.reason, "NewerDatabase")
      assert.include(error.message, "0002_two")
      assert.deepStrictEqual(yield* applied, ["0001_one", "0002_two"])
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )
})

describe("statements of a script", () => {
  const cases: ReadonlyArray<readonly [script: string, statements: ReadonlyArray<string>]> = [
    ["", []],
    ["-- nothing; at all\n/* ; */", []],
    ["SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]],
    ["SELECT ';', 'it''s;'; SELECT 2;", ["SELECT ';', 'it''s;'", "SELECT 2"]],
    ['SELECT 1 AS "a;""b";', ['SELECT 1 AS "a;""b"']],
    ["-- one; two\nSELECT 1;", ["-- one; two\nSELECT 1"]],
    [
      "CREATE FUNCTION f() AS $$ BEGIN; END; $$;\nCREATE FUNCTION g() AS $x$ a; $$ b; $x$;",
      ["CREATE FUNCTION f() AS $$ BEGIN; END; $$", "CREATE FUNCTION g() AS $x$ a; $$ b; $x$"]
    ]
  ]
  it.each(cases)("%j", (script, statements) => assert.deepStrictEqual(statementsOf(script), statements))
})
