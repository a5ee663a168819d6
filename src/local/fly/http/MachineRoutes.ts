/** `/v1/apps/{app}/machines`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { FlyWorld } from "../FlyWorld.ts"
import { MachineHost } from "../MachineHost.ts"
import { WholeConfig, durationMs, readBack } from "../model/MachineConfigJson.ts"
import { leaseOf } from "../model/Find.ts"
import type { Machine } from "../model/FlyState.ts"
import { listMachines } from "../model/MachineList.ts"
import * as Machines from "../model/Machines.ts"
import { refusal } from "../model/Refusal.ts"
import type { StopOptions } from "../model/Transitions.ts"
import { endpoint, flag, integer, json, okay, onTarget, pageReply, paged, param } from "./Endpoint.ts"
import { machineJson } from "./Wire.ts"

const machines = "/v1/apps/:app/machines"
const one = `${machines}/:machine` as const

const optional = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const CreateBody = Schema.Struct({
  name: optional(Schema.String),
  region: optional(Schema.String),
  config: WholeConfig,
  skip_launch: optional(Schema.Boolean),
  skip_service_registration: optional(Schema.Boolean),
  lease_ttl: optional(Schema.Int)
})

const UpdateBody = Schema.Struct({
  name: optional(Schema.String),
  region: optional(Schema.String),
  config: WholeConfig,
  skip_launch: optional(Schema.Boolean),
  current_version: optional(Schema.String)
})

const StopBody = Schema.Struct({
  signal: optional(Schema.String),
  timeout: optional(Schema.Union([Schema.String, Schema.Finite]))
})

const ExecBody = Schema.Struct({
  command: optional(Schema.Array(Schema.String)),
  cmd: optional(Schema.String),
  stdin: optional(Schema.String),
  timeout: optional(Schema.Int)
})

const signals = [
  "SIGABRT",
  "SIGALRM",
  "SIGFPE",
  "SIGHUP",
  "SIGILL",
  "SIGINT",
  "SIGKILL",
  "SIGPIPE",
  "SIGQUIT",
  "SIGSEGV",
  "SIGTERM",
  "SIGTRAP",
  "SIGUSR1",
  "SIGUSR2"
] as const

const SignalBody = Schema.Struct({ signal: Schema.Literals(signals) })

const present = <A>(value: A | null | undefined): value is A => value !== null && value !== undefined && value !== ""

const stopOptions = (signal: string | null | undefined, timeout: string | number | null | undefined) =>
  Effect.gen(function* () {
    const timeoutMs = present(timeout) ? durationMs(timeout) : undefined
    if (timeoutMs === null) return yield* Effect.fail(refusal(400, `invalid_argument: time: invalid duration`))
    if (present(signal) && !signals.some((it) => it === signal)) {
      return yield* Effect.fail(refusal(400, `invalid_argument: unsupported signal ${signal}`))
    }
    const options: StopOptions = {
      ...(present(signal) ? { signal } : {}),
      ...(timeoutMs === undefined ? {} : { timeoutMs })
    }
    return options
  })

const list = endpoint("GET", machines, (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const app = param(input, "app")
    const metadata: Record<string, string> = {}
    for (const [key, value] of input.query) {
      if (key.startsWith("metadata.")) metadata[key.slice("metadata.".length)] = value
    }
    const states = input.query
      .getAll("state")
      .flatMap((it) => it.split(","))
      .filter((it) => it !== "")
    const region = input.query.get("region")
    const found = yield* world.call(
      { operation: "listMachines", app },
      listMachines(app, {
        includeDeleted: flag(input.query, "include_deleted"),
        metadata,
        ...(states.length === 0 ? {} : { states }),
        ...(present(region) ? { region } : {})
      }),
      { empty: [] }
    )
    const state = yield* world.state
    const summary = flag(input.query, "summary")
    return pageReply(yield* paged(input.query, found), (machine) => machineJson(state, machine, { summary }))
  })
)

const create = endpoint("POST", machines, (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const app = param(input, "app")
    const body = yield* input.body(CreateBody)
    const machine = yield* world.call(
      {
        operation: "createMachine",
        app,
        ...(present(body.name) ? { name: body.name } : {}),
        ...(present(body.region) ? { region: body.region } : {})
      },
      Machines.createMachine(app, {
        config: body.config,
        skipLaunch: body.skip_launch === true,
        skipServiceRegistration: body.skip_service_registration === true,
        ...(present(body.name) ? { name: body.name } : {}),
        ...(present(body.region) ? { region: body.region } : {}),
        ...(present(body.lease_ttl) ? { leaseTtl: body.lease_ttl } : {})
      })
    )
    const lease = leaseOf(machine, yield* world.now)
    return json(machineJson(yield* world.state, machine, lease === null ? {} : { nonce: lease.nonce }))
  })
)

const get = endpoint("GET", one, (input) =>
  Effect.gen(function* () {
    const machine = yield* onTarget(input, "getMachine", Machines.getMachine)
    return json(machineJson(yield* (yield* FlyWorld).state, machine))
  })
)

const update = endpoint("POST", one, (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const body = yield* input.body(UpdateBody)
    const machine = yield* onTarget(input, "updateMachine", (app, id) =>
      Machines.updateMachine(app, id, {
        config: body.config,
        skipLaunch: body.skip_launch === true,
        ...(input.nonce === undefined ? {} : { nonce: input.nonce }),
        ...(present(body.region) ? { region: body.region } : {}),
        ...(present(body.name) ? { name: body.name } : {}),
        ...(present(body.current_version) ? { currentVersion: body.current_version } : {})
      })
    )
    return json(machineJson(yield* world.state, machine))
  })
)

/** Fly's own clients say `kill`, the document says `force`. */
const remove = endpoint("DELETE", one, (input) =>
  onTarget(input, "deleteMachine", (app, id) =>
    Machines.deleteMachine(app, id, input.nonce, flag(input.query, "force") || flag(input.query, "kill"))
  ).pipe(Effect.as(okay))
)

const start = endpoint("POST", `${one}/start`, (input) =>
  onTarget(input, "startMachine", (app, id) => Machines.startMachine(app, id, input.nonce)).pipe(
    Effect.map(({ previousState }) => json({ previous_state: previousState, migrated: false, new_host: "" }))
  )
)

const stop = endpoint("POST", `${one}/stop`, (input) =>
  input.body(StopBody).pipe(
    Effect.flatMap((body) => stopOptions(body.signal, body.timeout)),
    Effect.flatMap((options) =>
      onTarget(input, "stopMachine", (app, id) => Machines.stopMachine(app, id, input.nonce, options))
    ),
    Effect.as(okay)
  )
)

const restart = endpoint("POST", `${one}/restart`, (input) => {
  const { query } = input
  const options = flag(query, "force_stop")
    ? stopOptions("SIGKILL", "0s")
    : stopOptions(query.get("signal"), query.get("timeout"))
  return options.pipe(
    Effect.flatMap((it) =>
      onTarget(input, "restartMachine", (app, id) => Machines.restartMachine(app, id, input.nonce, it))
    ),
    Effect.as(okay)
  )
})

const suspend = endpoint("POST", `${one}/suspend`, (input) =>
  onTarget(input, "suspendMachine", (app, id) => Machines.suspendMachine(app, id, input.nonce)).pipe(Effect.as(okay))
)

const signal = endpoint("POST", `${one}/signal`, (input) =>
  input.body(SignalBody).pipe(
    Effect.flatMap((body) =>
      onTarget(input, "signalMachine", (app, id) => Machines.signalMachine(app, id, body.signal))
    ),
    Effect.as(okay)
  )
)

const cordon = endpoint("POST", `${one}/cordon`, (input) =>
  onTarget(input, "cordonMachine", (app, id) => Machines.setCordon(app, id, input.nonce, true)).pipe(Effect.as(okay))
)

const uncordon = endpoint("POST", `${one}/uncordon`, (input) =>
  onTarget(input, "uncordonMachine", (app, id) => Machines.setCordon(app, id, input.nonce, false)).pipe(Effect.as(okay))
)

const defaultExecSeconds = 30

const exec = endpoint("POST", `${one}/exec`, (input) =>
  Effect.gen(function* () {
    const host = yield* MachineHost
    const body = yield* input.body(ExecBody)
    const command = present(body.command) ? body.command : present(body.cmd) ? body.cmd.split(/\s+/) : []
    if (command.length === 0) return yield* Effect.fail(refusal(400, "invalid_argument: command is required"))
    const machine = yield* onTarget(input, "execMachine", (app, id) => Machines.runningMachine(app, id))
    const output = yield* host.exec(machine, {
      command,
      stdin: body.stdin ?? "",
      timeoutMs: (body.timeout ?? defaultExecSeconds) * 1_000
    })
    return json({
      stdout: output.stdout,
      stderr: output.stderr,
      exit_code: output.exitCode,
      exit_signal: output.exitSignal
    })
  })
)

const ps = endpoint("GET", `${one}/ps`, (input) =>
  Effect.gen(function* () {
    const host = yield* MachineHost
    const machine = yield* onTarget(input, "listProcesses", Machines.runningMachine)
    const by = input.query.get("sort_by") ?? "pid"
    if (by !== "pid" && by !== "rss" && by !== "cpu" && by !== "rtime" && by !== "stime") {
      return yield* Effect.fail(refusal(400, `invalid_argument: can't sort by ${by}`))
    }
    const sign = input.query.get("order") === "desc" ? -1 : 1
    const found = yield* host.processes(machine)
    return json(found.toSorted((a, b) => sign * (a[by] - b[by])).map((it) => ({ ...it, listen_sockets: [] })))
  })
)

const events = endpoint("GET", `${one}/events`, (input) =>
  Effect.gen(function* () {
    const limit = integer(input.query, "limit") ?? 20
    if (limit < 1 || limit > 50) return yield* Effect.fail(refusal(400, "invalid_argument: limit"))
    const machine = yield* onTarget(input, "listEvents", Machines.getMachine)
    return json(machine.events.slice(0, limit))
  })
)

const versions = endpoint("GET", `${one}/versions`, (input) =>
  onTarget(input, "listVersions", Machines.getMachine).pipe(
    Effect.map((machine) =>
      json(machine.versions.map((it) => ({ version: it.version, user_config: readBack(it.config) })))
    )
  )
)

const memoryJson = (machine: Machine) =>
  json({ limit_mb: Machines.memoryLimitMb(machine), available_mb: machine.config.guest?.memory_mb ?? 256 })

const memory = endpoint("GET", `${one}/memory`, (input) =>
  onTarget(input, "getMemory", Machines.runningMachine).pipe(Effect.map(memoryJson))
)

const limitMemory = endpoint("PUT", `${one}/memory`, (input) =>
  input.body(Schema.Struct({ limit_mb: Schema.Int })).pipe(
    Effect.flatMap(({ limit_mb: limit }) =>
      onTarget(input, "setMemory", (app, id) => Machines.limitMemory(app, id, limit))
    ),
    Effect.map(memoryJson)
  )
)

/** Nothing is to be had back: processes here share the computer's memory. */
const reclaimMemory = endpoint("POST", `${one}/memory/reclaim`, (input) =>
  onTarget(input, "reclaimMemory", Machines.runningMachine).pipe(Effect.as(json({ actual_mb: 0 })))
)

export const machineRoutes = [
  list,
  create,
  get,
  update,
  remove,
  start,
  stop,
  restart,
  suspend,
  signal,
  cordon,
  uncordon,
  exec,
  ps,
  events,
  versions,
  memory,
  limitMemory,
  reclaimMemory
]
