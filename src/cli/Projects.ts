/** `valet projects …`: the API's project endpoints. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { connection, duration } from "./Flags.ts"
import { fields, print, table } from "./Output.ts"

const projects = Command.make("projects").pipe(
  Command.withSharedFlags(connection),
  Command.withDescription("Create, look at, wake, archive and delete projects through the control plane's API")
)

/** The client is loaded when a command is run, not when help is shown. */
const api = Effect.promise(() => import("./PlaneApi.ts"))

export class Refusal extends Schema.TaggedError<Refusal>()("Refusal", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const id = Argument.String("id").pipe(Argument.withDescription("Project id"))
const params = (id: string) => ({ params: { id } })
const seconds = (ms: number) => Math.round(ms / 1_000)

const create = Command.make(
  "create",
  {
    id: Flag.String("id").pipe(
      Flag.withDescription("A name of your choice (needs the operator's bearer)"),
      Flag.optional
    ),
    region: Flag.String("region").pipe(Flag.withDescription("Fly region"), Flag.optional),
    idleTimeout: duration("idle-timeout").pipe(
      Flag.withDescription("Time without traffic after which it is suspended"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ id, region, idleTimeout }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const payload = {
      ...Option.match(id, { onNone: () => ({}), onSome: (project_id) => ({ project_id }) }),
      ...Option.match(region, { onNone: () => ({}), onSome: (region) => ({ region }) }),
      ...Option.match(idleTimeout, { onNone: () => ({}), onSome: (ms) => ({ idle_timeout_seconds: seconds(ms) }) })
    }
    const { body } = yield* call(to, (client) => client.projects.create({ headers: {}, payload }))
    yield* print(json, body, () => `${fields({ ...body })}\n\nKeep the deploy key: it is shown only here.`)
  })
).pipe(Command.withDescription("Create a project"))

const list = Command.make(
  "list",
  {
    state: Flag.Literals("state", ["active", "suspended", "dormant"]).pipe(Flag.optional),
    limit: Flag.Int("limit").pipe(Flag.withDescription("Projects of one page"), Flag.withDefault(50)),
    cursor: Flag.String("cursor").pipe(Flag.withDescription("Where the page before ended"), Flag.optional)
  },
  Effect.fnUntraced(function* ({ state, limit, cursor }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const query = {
      limit,
      ...Option.match(state, { onNone: () => ({}), onSome: (state) => ({ state }) }),
      ...Option.match(cursor, { onNone: () => ({}), onSome: (cursor) => ({ cursor }) })
    }
    const page = yield* call(to, (client) => client.operator.list({ query }))
    yield* print(json, page, () => {
      const rows = page.projects.map((row) => [
        row.project_id,
        row.state,
        row.operation,
        row.region,
        row.last_active_at
      ])
      const more = page.next_cursor === null ? "" : `\n\nMore: --cursor ${page.next_cursor}`
      return table(["PROJECT", "STATE", "OPERATION", "REGION", "LAST ACTIVE"], rows) + more
    })
  })
).pipe(Command.withDescription("List projects, newest first"))

const show = Command.make(
  "show",
  { id },
  Effect.fnUntraced(function* ({ id }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const project = yield* call(to, (client) => client.projects.get(params(id)))
    yield* print(json, project, () => fields({ ...project }))
  })
).pipe(Command.withDescription("Show one project"))

const wake = Command.make(
  "wake",
  {
    id,
    force: Flag.Boolean("force").pipe(Flag.withDescription("Do not wait out earlier failures"), Flag.withDefault(false))
  },
  Effect.fnUntraced(function* ({ id, force }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const query = force ? ({ force: "true" } as const) : {}
    const { body } = yield* call(to, (client) => client.operator.wake({ ...params(id), query }))
    yield* print(json, body, () =>
      fields({
        project_id: body.project_id,
        state: body.state,
        machine_id: body.machine_id,
        woken: body.woken,
        ...Object.fromEntries(Object.entries(body.timings_ms).map(([step, ms]) => [`${step} (ms)`, Math.round(ms)]))
      })
    )
  })
).pipe(Command.withDescription("Wake a project and say how long each step took"))

const sleep = Command.make(
  "sleep",
  {
    id,
    to: Flag.Literals("to", ["dormant", "suspended"]).pipe(
      Flag.withDescription("dormant: archived, without machine and volume; suspended: its machine sleeps"),
      Flag.withDefault("dormant")
    )
  },
  Effect.fnUntraced(function* ({ id, to: state }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const project = yield* call(to, (client) => client.owner.sleep({ ...params(id), payload: { to: state } }))
    yield* print(json, project, () => fields({ ...project }))
  })
).pipe(Command.withDescription("Archive or suspend a project now"))

const remove = Command.make(
  "delete",
  { id, yes: Flag.Boolean("yes").pipe(Flag.withDescription("Do it"), Flag.withDefault(false)) },
  Effect.fnUntraced(function* ({ id, yes }) {
    const { json, ...to } = yield* projects
    if (!yes) {
      return yield* new Refusal({ detail: `this deletes ${id} and all of its data for good: say --yes to do it` })
    }
    const { call } = yield* api
    yield* call(to, (client) => client.owner.delete(params(id)))
    yield* print(json, { project_id: id, deleted: true }, () => `${id} is deleted`)
  })
).pipe(Command.withDescription("Delete a project and its data for good"))

const events = Command.make(
  "events",
  { id, limit: Flag.Int("limit").pipe(Flag.withDefault(50)) },
  Effect.fnUntraced(function* ({ id, limit }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const page = yield* call(to, (client) => client.owner.events({ ...params(id), query: { limit } }))
    yield* print(json, page, () => {
      const detail = (values: (typeof page.events)[number]["detail"]) =>
        Object.entries(values)
          .map(([name, value]) => `${name}=${String(value)}`)
          .join(" ")
      return table(
        ["AT", "EVENT", "GENERATION", "DETAIL"],
        page.events.map((event) => [event.at, event.kind, event.generation, detail(event.detail)])
      )
    })
  })
).pipe(Command.withDescription("What happened to a project, newest first"))

const set = Command.make(
  "set",
  {
    id,
    idleTimeout: duration("idle-timeout").pipe(
      Flag.withDescription("Suspend after so long without traffic"),
      Flag.optional
    ),
    dormancyThreshold: duration("dormancy-threshold", "d").pipe(
      Flag.withDescription("Archive after so long without traffic (a bare number is in days)"),
      Flag.optional
    ),
    pinned: Flag.Boolean("pinned").pipe(Flag.withDescription("Never archive it for being idle"), Flag.optional)
  },
  Effect.fnUntraced(function* ({ id, idleTimeout, dormancyThreshold, pinned }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const payload = {
      ...Option.match(idleTimeout, { onNone: () => ({}), onSome: (ms) => ({ idle_timeout_seconds: seconds(ms) }) }),
      ...Option.match(dormancyThreshold, {
        onNone: () => ({}),
        onSome: (ms) => ({ dormancy_threshold_seconds: seconds(ms) })
      }),
      ...Option.match(pinned, { onNone: () => ({}), onSome: (pinned) => ({ pinned }) })
    }
    if (Object.keys(payload).length === 0) {
      return yield* new Refusal({ detail: "nothing to set: see `valet projects set --help`" })
    }
    const settings = yield* call(to, (client) => client.owner.settings({ ...params(id), payload }))
    yield* print(json, settings, () => fields({ ...settings }))
  })
).pipe(Command.withDescription("Change a project's settings"))

const recover = Command.make(
  "recover",
  {
    id,
    from: Flag.Literals("from", ["archive", "snapshot", "empty"]).pipe(
      Flag.withDescription("What the project is served from next; what was written since is lost")
    )
  },
  Effect.fnUntraced(function* ({ id, from }) {
    const { json, ...to } = yield* projects
    const { call } = yield* api
    const project = yield* call(to, (client) => client.operator.recover({ ...params(id), payload: { from } }))
    yield* print(json, project, () => fields({ ...project }))
  })
).pipe(Command.withDescription("Decide what a project is served from whose machine and volume are gone"))

export const projectsCommand = projects.pipe(
  Command.withSubcommands([create, list, show, wake, sleep, set, events, recover, remove])
)
