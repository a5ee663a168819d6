/** Apps, their addresses, and what an organization or the platform is asked. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { FlyWorld } from "../FlyWorld.ts"
import * as Apps from "../model/Apps.ts"
import { hostIn } from "../model/Machines.ts"
import { refusal } from "../model/Refusal.ts"
import { endpoint, flag, json, nothing, paged, param } from "./Endpoint.ts"
import type { Input } from "./Endpoint.ts"
import { appJson, ipJson, orgMachineJson, orgVolumeJson } from "./Wire.ts"

const onApp = (input: Input) => param(input, "app")

const list = endpoint("GET", "/v1/apps", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const org = input.query.get("org_slug") ?? ""
    if (org === "") return yield* Effect.fail(refusal(400, "invalid_argument: org_slug is required"))
    const apps = yield* world.call({ operation: "listApps", app: "" }, Apps.listApps(org), { empty: [] })
    const state = yield* world.state
    return json({ apps: apps.map((app) => appJson(state, app)), total_apps: apps.length })
  })
)

/** The documentation says `app_name`, the OpenAPI document and Fly's clients `name`. */
const CreateBody = Schema.Struct({
  name: Schema.optionalKey(Schema.String),
  app_name: Schema.optionalKey(Schema.String),
  org_slug: Schema.optionalKey(Schema.String),
  network: Schema.optionalKey(Schema.NullOr(Schema.String))
})

const create = endpoint("POST", "/v1/apps", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const body = yield* input.body(CreateBody)
    const name = body.name ?? body.app_name ?? ""
    const app = yield* world.call(
      { operation: "createApp", app: name, name },
      Apps.createApp({
        name,
        org: body.org_slug ?? "personal",
        ...(body.network === null || body.network === undefined ? {} : { network: body.network })
      })
    )
    return json({ id: app.id, created_at: app.createdAt }, 201)
  })
)

const get = endpoint("GET", "/v1/apps/:app", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const app = yield* world.call({ operation: "getApp", app: onApp(input) }, Apps.getApp(onApp(input)))
    return json(appJson(yield* world.state, app))
  })
)

const remove = endpoint("DELETE", "/v1/apps/:app", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const force = flag(input.query, "force") || flag(input.query, "kill")
    yield* world.call({ operation: "deleteApp", app: onApp(input) }, Apps.deleteApp(onApp(input), force))
    return nothing(202)
  })
)

const ips = endpoint("GET", "/v1/apps/:app/ip_assignments", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const app = yield* world.call({ operation: "listIps", app: onApp(input) }, Apps.getApp(onApp(input)))
    return json({ ips: app.ips.map(ipJson) })
  })
)

const IpBody = Schema.Struct({
  type: Schema.optionalKey(Schema.String),
  region: Schema.optionalKey(Schema.NullOr(Schema.String))
})

const assign = endpoint("POST", "/v1/apps/:app/ip_assignments", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const body = yield* input.body(IpBody)
    const op = Apps.assignIp(onApp(input), { type: body.type ?? "v6", region: body.region ?? "global" })
    return json(ipJson(yield* world.call({ operation: "assignIp", app: onApp(input) }, op)))
  })
)

const release = endpoint("DELETE", "/v1/apps/:app/ip_assignments/:ip", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const op = Apps.releaseIp(onApp(input), param(input, "ip"))
    yield* world.call({ operation: "releaseIp", app: onApp(input) }, op)
    return nothing(204)
  })
)

/** Oldest change first, filtered as both listings of an organization are. */
const changed = <A extends { readonly region: string; readonly state: string; readonly updatedAt: number }>(
  query: URLSearchParams,
  all: ReadonlyArray<A>,
  isDeleted: (it: A) => boolean
): ReadonlyArray<A> => {
  const states = (query.get("state") ?? "").split(",").filter((it) => it !== "")
  const region = query.get("region") ?? ""
  const since = query.get("cursor") === null ? Date.parse(query.get("updated_after") ?? "") : Number.NaN
  return all
    .filter(
      (it) =>
        (flag(query, "include_deleted") || !isDeleted(it)) &&
        (region === "" || it.region === region) &&
        (states.length === 0 || states.includes(it.state)) &&
        (Number.isNaN(since) || it.updatedAt > since)
    )
    .toSorted((a, b) => a.updatedAt - b.updatedAt)
}

const lastUpdated = (items: ReadonlyArray<{ readonly updatedAt: number }>) => {
  const last = items.at(-1)
  return last === undefined ? {} : { last_updated_at: new Date(last.updatedAt).toISOString() }
}

const orgMachines = endpoint("GET", "/v1/orgs/:org/machines", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const apps = yield* world.call({ operation: "listOrgMachines", app: "" }, Apps.listApps(param(input, "org")))
    const { machines } = yield* world.state
    const own = Object.values(machines).filter((it) => apps.some((app) => app.name === it.app))
    const page = yield* paged(
      input.query,
      changed(input.query, own, (it) => it.state === "destroyed")
    )
    return json({
      machines: page.items.map(orgMachineJson),
      next_cursor: page.next ?? "",
      last_machine_id: page.items.at(-1)?.id ?? "",
      error_regions: [],
      ...lastUpdated(page.items)
    })
  })
)

const orgVolumes = endpoint("GET", "/v1/orgs/:org/volumes", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const apps = yield* world.call({ operation: "listOrgVolumes", app: "" }, Apps.listApps(param(input, "org")))
    const state = yield* world.state
    const own = Object.values(state.volumes).filter((it) => apps.some((app) => app.name === it.app))
    const page = yield* paged(
      input.query,
      changed(input.query, own, (it) => it.deletedAt !== null)
    )
    return json({
      volumes: page.items.map((it) => orgVolumeJson(state, it)),
      next_cursor: page.next ?? "",
      last_volume_id: page.items.at(-1)?.id ?? "",
      ...lastUpdated(page.items)
    })
  })
)

/** The keys are capitalized at Fly, other than its document says. */
const regions = endpoint("GET", "/v1/platform/regions", () =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    yield* world.call({ operation: "listRegions", app: "" }, () => Result.succeed(undefined))
    return json({
      Regions: world.params.regions.map((code) => ({
        code,
        name: code,
        latitude: 0,
        longitude: 0,
        gateway_available: false,
        requires_paid_plan: false,
        deprecated: false
      })),
      Nearest: world.params.regions[0] ?? ""
    })
  })
)

const PlacementBody = Schema.Struct({
  org_slug: Schema.String,
  region: Schema.optionalKey(Schema.NullOr(Schema.String)),
  count: Schema.optionalKey(Schema.NullOr(Schema.Int))
})

const placements = endpoint("POST", "/v1/platform/placements", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const body = yield* input.body(PlacementBody)
    const wanted = (body.region ?? "").split(",").filter((it) => it !== "")
    const free = yield* world.call({ operation: "getPlacements", app: "" }, (draft) =>
      Result.succeed(
        draft.params.regions.filter(
          (region) => (wanted.length === 0 || wanted.includes(region)) && hostIn(draft, region) !== ""
        )
      )
    )
    const count = body.count ?? 1
    return json({
      Regions: free.map((Region, index) => ({ Region, Count: index === 0 ? count : 0, Concurrency: count }))
    })
  })
)

export const appRoutes = [list, create, get, remove, ips, assign, release, orgMachines, orgVolumes, regions, placements]
