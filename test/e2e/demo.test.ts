import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { started } from "./Platform.ts"

const Result = Schema.fromJsonString(
  Schema.Struct({
    ok: Schema.Literal(true),
    steps: Schema.Array(Schema.Struct({ name: Schema.String, ms: Schema.Finite })),
    wake: Schema.Struct({
      source: Schema.Literals(["pool", "cold"]),
      timings_ms: Schema.Record(Schema.String, Schema.Finite)
    })
  })
)

it.live(
  "the demonstration goes through a project's whole life over two control planes",
  () =>
    Effect.gen(function* () {
      const { output, ended } = yield* started(["demo", "--json", "--instances", "2"])
      assert.strictEqual(yield* ended, 0, output.join(""))
      const result = yield* Schema.decodeEffect(Result)(output.join("").trim().split("\n").at(-1) ?? "")
      assert.deepStrictEqual(
        result.steps.map(({ name }) => name),
        ["start", "create", "write", "suspend", "resume", "archive", "release", "wake", "delete"]
      )
      assert.strictEqual(result.wake.source, "pool")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  180_000
)
