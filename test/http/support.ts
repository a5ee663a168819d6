/** Doubles of what HTTP stands on: rows that a test writes, a lifecycle that it scripts. */
import { type Agent, type IncomingHttpHeaders, request as httpRequest } from "node:http"
import { connect } from "node:net"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { PlaneConfig, type PlaneConfigValue } from "../../src/config/PlaneConfig.ts"
import { MachineName, type MachineRow } from "../../src/domain/Machine.ts"
import type { Project } from "../../src/domain/Project.ts"
import { ProjectId } from "../../src/domain/ProjectId.ts"
import { LoopStatus } from "../../src/programs/background/LoopStatus.ts"
import { Lifecycle, type WakeResult } from "../../src/programs/lifecycle/Lifecycle.ts"
import { ChangeFeed } from "../../src/services/db/ChangeFeed.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Plane } from "../../src/services/db/Plane.ts"
import { type Change, Projects, type ProjectView, routeRow } from "../../src/services/db/Projects.ts"
import { type StoreError } from "../../src/services/db/StoreError.ts"
import { KeyError, Keys } from "../../src/services/Keys.ts"
import { PlaneHttp } from "../../src/http/PlaneHttp.ts"
import { Server, type ServerOptions } from "../../src/http/Server.ts"
import { Router } from "../../src/http/router/Router.ts"
import { layerSeededRandom, testConfig } from "../../src/testing/TestPlane.ts"

export const id = (text: string): ProjectId => ProjectId.make(text)

export const machine = (text: string, machineId: string | null = `m-${text}`): MachineRow => ({
  name: MachineName.make(`v${text.replaceAll("-", "")}`),
  project: id(text),
  generation: 1,
  region: "sjc",
  image: "image:1",
  volumeSizeGb: 1,
  machineId,
  volumeId: "vol_1",
  privateIp: null,
  keyId: "k1",
  status: "assigned",
  served: true,
  released: false,
  attempts: 0,
  nextAttemptAt: null,
  lastError: null,
  absentLooks: 0,
  createdAt: 0,
  updatedAt: 0
})

export const project = (text: string, more: Partial<Project> = {}): Project => ({
  projectId: id(text),
  uid: `uid-${text}`,
  state: "active",
  operation: "none",
  operationId: null,
  generation: 1,
  leaseUntil: null,
  uploading: false,
  machine: null,
  region: "sjc",
  dirty: true,
  dataUnavailable: false,
  deployKey: { sealed: `dk_${text}`, keyId: "k1" },
  settings: { idleTimeoutSeconds: null, dormancyThresholdSeconds: null, pinned: false },
  attempts: 0,
  nextAttemptAt: null,
  lastError: null,
  createdAt: 1_700_000_000_000,
  lastActiveAt: 1_700_000_100_000,
  deletedAt: null,
  ...more
})

export const active = (text: string, more: Partial<Project> = {}): ProjectView => ({
  project: project(text, { machine: machine(text).name, ...more }),
  machine: machine(text)
})
export const dormant = (text: string, more: Partial<Project> = {}): ProjectView => ({
  project: project(text, { state: "dormant", dirty: false, ...more }),
  machine: null
})

export const woken = (view: ProjectView): WakeResult => ({
  view,
  woken: true,
  source: "pool",
  timings: { begin: 2, configure: 31.25, commit: 3 }
})

export interface World {
  readonly rows: Map<string, ProjectView>
  readonly touched: Array<ReadonlyArray<string>>
  finds: number
  /** Runs inside every `find` and `routes`, before rows are read. */
  beforeFind: Effect.Effect<void, StoreError>
  beforeTouch: Effect.Effect<void, StoreError>
  listening: boolean
  ready: boolean
  readonly changes: PubSub.PubSub<Change>
}

export const makeWorld: Effect.Effect<World> = Effect.map(PubSub.unbounded<Change>(), (changes) => ({
  rows: new Map(),
  touched: [],
  finds: 0,
  beforeFind: Effect.void,
  beforeTouch: Effect.void,
  listening: true,
  ready: true,
  changes
}))

export const layerProjects = (world: World, more: Partial<Projects["Service"]> = {}) =>
  Layer.mock(Projects)({
    find: (projectId) =>
      Effect.suspend(() => {
        world.finds++
        return Effect.andThen(
          world.beforeFind,
          Effect.sync(() => Option.fromNullishOr(world.rows.get(projectId)))
        )
      }),
    routes: (ids) =>
      Effect.suspend(() => {
        world.finds++
        return Effect.andThen(
          world.beforeFind,
          Effect.sync(
            () =>
              new Map(
                ids.flatMap((id) => {
                  const view = world.rows.get(id)
                  return view === undefined ? [] : [[id, routeRow(view)] as const]
                })
              )
          )
        )
      }),
    touch: (ids) =>
      Effect.suspend(() =>
        Effect.andThen(
          world.beforeTouch,
          Effect.sync(() => void world.touched.push(ids))
        )
      ),
    changes: Stream.concat(Stream.succeed<Change>({ _tag: "Resync" }), Stream.fromPubSub(world.changes)),
    ...more
  })

export const layerConfig = (change: (config: PlaneConfigValue) => PlaneConfigValue = (config) => config) =>
  Layer.succeed(PlaneConfig, change({ ...testConfig, port: 0 }))

export const layerFeed = (world: World) => Layer.succeed(ChangeFeed, { listening: () => world.listening })

export interface Setup {
  readonly config?: (config: PlaneConfigValue) => PlaneConfigValue
  readonly lifecycle?: Partial<Lifecycle["Service"]>
  readonly projects?: Partial<Projects["Service"]>
  readonly machines?: Partial<Machines["Service"]>
}

export const layerRouter = (world: World, setup: Setup = {}) =>
  Router.layer.pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        layerProjects(world, setup.projects),
        layerFeed(world),
        Layer.mock(Lifecycle)(setup.lifecycle ?? {}),
        layerConfig(setup.config)
      )
    )
  )

export const layerPlaneHttp = (world: World, setup: Setup = {}) =>
  PlaneHttp.layer.pipe(
    Layer.provideMerge(layerRouter(world, setup)),
    Layer.provideMerge(
      Layer.mergeAll(
        Layer.mock(Machines)({
          pool: Effect.succeed([]),
          binCounts: Effect.succeed({ discarded: 0, kept: 0, failing: 0 }),
          ...setup.machines
        }),
        Layer.mock(Plane)({ ready: Effect.sync(() => world.ready) }),
        Layer.mock(Keys)({
          currentKeyId: "k1",
          // In this double a sealed key is the key.
          open: (_uid, { sealed, keyId }) =>
            keyId === "lost" ? Effect.fail(new KeyError({ keyId })) : Effect.succeed(Redacted.make(sealed))
        }),
        Layer.succeed(LoopStatus, { statuses: Effect.succeed([]) }),
        layerSeededRandom
      )
    )
  )

/** `fly.valet.host` is the router's domain in the test configuration. */
export const projectHost = (text: string): string => `${text}.fly.valet.host`

export const request = (
  target: string,
  headers: Readonly<Record<string, string>> = {},
  method = "GET"
): { readonly method: string; readonly url: string; readonly rawHeaders: ReadonlyArray<string> } => ({
  method,
  url: target,
  rawHeaders: Object.entries({ Host: "plane.example", ...headers }).flat()
})

/** A control plane listening on a free port of loopback, closed with the scope. */
export const serve = (world: World, setup: Setup = {}, options: Partial<ServerOptions> = {}) =>
  Effect.map(
    Layer.build(Server.layer(options).pipe(Layer.provideMerge(layerPlaneHttp(world, setup)))),
    Context.get(Server)
  )

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export interface Sent {
  readonly port: number
  readonly path: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | ReadonlyArray<string>
  readonly agent?: Agent
}

/** Sends exactly this path, as no `fetch` would. Several body parts go out in chunks. */
export const send = (sent: Sent): Effect.Effect<Reply, Error> =>
  Effect.callback((resume) => {
    const outgoing = httpRequest(
      {
        host: "127.0.0.1",
        port: sent.port,
        path: sent.path,
        method: sent.method ?? "GET",
        headers: { ...sent.headers },
        agent: sent.agent ?? false
      },
      (incoming) => {
        const parts: Array<Buffer> = []
        incoming.on("data", (part: Buffer) => parts.push(part))
        incoming.on("error", (error) => resume(Effect.fail(error)))
        incoming.on("end", () =>
          resume(
            Effect.succeed({
              status: incoming.statusCode ?? 0,
              headers: incoming.headers,
              text: Buffer.concat(parts).toString()
            })
          )
        )
      }
    )
    outgoing.on("error", (error) => resume(Effect.fail(error)))
    if (typeof sent.body === "string") outgoing.end(sent.body)
    else {
      for (const part of sent.body ?? []) outgoing.write(part)
      outgoing.end()
    }
    return Effect.sync(() => outgoing.destroy())
  })

/** Sends these bytes and reads until the server closes. */
export const sendRaw = (port: number, bytes: string): Effect.Effect<string, Error> =>
  Effect.callback((resume) => {
    const socket = connect({ port, host: "127.0.0.1" })
    let text = ""
    socket.on("data", (part: Buffer) => (text += part.toString("latin1")))
    socket.on("error", (error) => resume(Effect.fail(error)))
    socket.on("close", () => resume(Effect.succeed(text)))
    socket.write(bytes.replaceAll("\n", "\r\n"))
    return Effect.sync(() => socket.destroy())
  })
