/** `valet migrate`: brings the database to what this build needs. DATABASE_URL is all that it reads. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { json } from "./Flags.ts"
import { print } from "./Output.ts"

const modules = Effect.promise(() =>
  Promise.all([
    import("../config/Environment.ts"),
    import("../services/db/Database.ts"),
    import("../services/db/Migrations.ts")
  ])
)

export const migrateCommand = Command.make(
  "migrate",
  {
    check: Flag.Boolean("check").pipe(Flag.withDescription("Only tell what is pending"), Flag.withDefault(false)),
    json
  },
  Effect.fnUntraced(function* ({ check, json }) {
    const [{ databaseFromEnvironment }, { Database }, { Migrations }] = yield* modules
    const urls = yield* databaseFromEnvironment
    const names = yield* Effect.flatMap(Migrations, ({ migrate, pending }) => (check ? pending : migrate)).pipe(
      Effect.provide(Migrations.layer.pipe(Layer.provide(Database.layerUrls(urls))))
    )
    const said = check ? `pending: ${names.join(", ")}` : `migrated: ${names.join(", ")}`
    yield* print(json, { [check ? "pending" : "migrated"]: names }, () =>
      names.length === 0 ? "the database is up to date" : said
    )
  })
).pipe(Command.withDescription("Bring the database up to date; safe with several instances running"))
