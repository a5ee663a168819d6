/** What the bare sweep is given: statements as the plane sends them for one project, to be sent for others. */
import * as Schema from "effect/Schema"

const Param = Schema.NullOr(Schema.Union([Schema.String, Schema.Finite, Schema.Boolean]))

export const Task = Schema.Struct({
  /** A hundred at most of `project_id` and `day`, behind the day `$1` and the id `$2`. */
  page: Schema.String,
  statements: Schema.Array(Schema.Struct({ sql: Schema.String, params: Schema.Array(Param) }))
})

/** Stands for the project's id in parameters, alone or within a longer text. */
export const placeholder = "{project}"

export const templated = (params: ReadonlyArray<typeof Param.Type>, id: string): ReadonlyArray<typeof Param.Type> =>
  params.map((param) => (typeof param === "string" ? param.replace(placeholder, id) : param))
