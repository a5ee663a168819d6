/** What a local platform tells of itself: the one line of `valet dev --json`, and `dev.json` in its data folder. */
import * as Schema from "effect/Schema"

export const DevRecord = Schema.Struct({
  ready: Schema.Boolean,
  edge: Schema.String,
  router_domain: Schema.String,
  control_planes: Schema.Array(Schema.Struct({ url: Schema.String, pid: Schema.Int })),
  control_plane_secret: Schema.String,
  /** Without `/v1`. */
  fly_api: Schema.String,
  fly_app: Schema.String,
  fly_token: Schema.String,
  /** Takes faults of object storage and edge; its bearer is `fly_token`. */
  fault_api: Schema.String,
  s3: Schema.Struct({
    endpoint: Schema.String,
    bucket: Schema.String,
    access_key_id: Schema.String,
    secret_access_key: Schema.String
  }),
  database_url: Schema.String,
  pid: Schema.Int
})
export type DevRecord = typeof DevRecord.Type
export const DevRecordJson = Schema.fromJsonString(DevRecord)
