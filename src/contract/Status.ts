/** What `/api/status` tells an operator. */
import * as Schema from "effect/Schema"
import { operations } from "../domain/Project.ts"

const Time = Schema.NullOr(Schema.String.annotate({ format: "date-time" }))

export const Loop = Schema.Struct({
  name: Schema.String,
  running: Schema.Boolean,
  runs: Schema.Int,
  failures: Schema.Int,
  last_run_at: Time,
  last_duration_ms: Schema.NullOr(Schema.Finite),
  last_error: Schema.NullOr(Schema.String),
  next_run_at: Time
}).annotate({ identifier: "Loop" })

export const RunningOperation = Schema.Struct({
  project_id: Schema.String,
  operation: Schema.Literals(operations),
  generation: Schema.Int,
  lease_until: Time
}).annotate({ identifier: "RunningOperation" })

export const Status = Schema.Struct({
  projects: Schema.Struct({
    active: Schema.Int,
    suspended: Schema.Int,
    dormant: Schema.Int,
    deleted: Schema.Int,
    data_unavailable: Schema.Int
  }),
  operations: Schema.Record(Schema.String, Schema.Int),
  running: Schema.Array(RunningOperation).annotate({ description: "Oldest first, at most 50." }),
  pool: Schema.Struct({
    target: Schema.Int.annotate({ description: "Per region." }),
    regions: Schema.Record(Schema.String, Schema.Struct({ ready: Schema.Int, provisioning: Schema.Int }))
  }),
  bin: Schema.Struct({
    discarded: Schema.Int,
    kept: Schema.Int.annotate({ description: "Volumes that may hold a project's only data: never deleted." }),
    failing: Schema.Int
  }),
  machines: Schema.Struct({
    used: Schema.Int.annotate({ description: "Of projects, pool and bin." }),
    max: Schema.Int
  }),
  archival: Schema.Literals(["on", "off"]),
  router: Schema.Struct({
    replays: Schema.Int,
    cached: Schema.Int,
    wakes: Schema.Int,
    wake_failures: Schema.Int,
    stale: Schema.Int,
    replay_failures: Schema.Int,
    overloaded: Schema.Int,
    waiting: Schema.Int,
    routes: Schema.Int,
    feed_connected: Schema.Boolean
  }).annotate({ description: "Of the instance that answers, since it started." }),
  loops: Schema.Array(Loop).annotate({ description: "Of the instance that answers." })
}).annotate({ identifier: "Status" })
export type Status = typeof Status.Type
