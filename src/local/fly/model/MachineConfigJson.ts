/**
 * A machine's configuration as it stands in requests. Only what the model acts on is named; everything else is kept as
 * it came and handed back.
 */
import * as Schema from "effect/Schema"

const Json = Schema.Record(Schema.String, Schema.Unknown)
/** Go durations are accepted as text (`15s`) or as nanoseconds. */
const GoDuration = Schema.Union([Schema.String, Schema.Finite])

const Check = Schema.Struct({
  interval: Schema.optionalKey(GoDuration),
  timeout: Schema.optionalKey(GoDuration),
  grace_period: Schema.optionalKey(GoDuration)
})

const Port = Schema.Struct({
  port: Schema.optionalKey(Schema.Int),
  start_port: Schema.optionalKey(Schema.Int),
  end_port: Schema.optionalKey(Schema.Int),
  handlers: Schema.optionalKey(Schema.Array(Schema.String))
})

const Service = Schema.Struct({
  protocol: Schema.optionalKey(Schema.String),
  internal_port: Schema.optionalKey(Schema.Int),
  autostart: Schema.optionalKey(Schema.Boolean),
  autostop: Schema.optionalKey(Schema.Union([Schema.Boolean, Schema.Literals(["off", "stop", "suspend"])])),
  ports: Schema.optionalKey(Schema.Array(Port)),
  checks: Schema.optionalKey(Schema.Array(Check))
})

export const Guest = Schema.Struct({
  cpu_kind: Schema.optionalKey(Schema.String),
  cpus: Schema.optionalKey(Schema.Int),
  memory_mb: Schema.optionalKey(Schema.Int)
})

export const ModelConfig = Schema.Struct({
  image: Schema.String,
  env: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  metadata: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  guest: Schema.optionalKey(Guest),
  mounts: Schema.optionalKey(
    Schema.Array(Schema.Struct({ volume: Schema.optionalKey(Schema.String), path: Schema.optionalKey(Schema.String) }))
  ),
  services: Schema.optionalKey(Schema.Array(Service)),
  checks: Schema.optionalKey(Schema.Record(Schema.String, Check)),
  init: Schema.optionalKey(Schema.Struct({ swap_size_mb: Schema.optionalKey(Schema.Int) })),
  restart: Schema.optionalKey(
    Schema.Struct({
      policy: Schema.optionalKey(Schema.Literals(["no", "always", "on-failure"])),
      max_retries: Schema.optionalKey(Schema.Int)
    })
  ),
  stop_config: Schema.optionalKey(
    Schema.Struct({ signal: Schema.optionalKey(Schema.String), timeout: Schema.optionalKey(GoDuration) })
  ),
  auto_destroy: Schema.optionalKey(Schema.Boolean),
  schedule: Schema.optionalKey(Schema.String),
  dns: Schema.optionalKey(Json)
})
export type ModelConfig = typeof ModelConfig.Type

/** Checked but handed on as it came, with the fields that are not named here. */
export const WholeConfig = Schema.declare(Schema.is(ModelConfig))

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000
}

/** Milliseconds of a Go duration (`1m30s`, or nanoseconds as a number); null for what Go would not parse. */
export const durationMs = (value: string | number): number | null => {
  if (typeof value === "number") return value / 1e6
  if (!/^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$/.test(value)) return value === "0" ? 0 : null
  let total = 0
  for (const [, amount, unit] of value.matchAll(/([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * (unitMs[unit ?? "s"] ?? 0)
  }
  return total
}

/** As Go prints it: `500ms`, `15s`, `1m30s`, `1h0m0s`. */
export const goDuration = (ms: number): string => {
  if (ms === 0) return "0s"
  if (ms < 1_000) return `${ms}ms`
  const hours = Math.floor(ms / 3_600_000)
  const minutes = Math.floor((ms % 3_600_000) / 60_000)
  const seconds = (ms % 60_000) / 1_000
  return `${hours > 0 ? `${hours}h` : ""}${hours > 0 || minutes > 0 ? `${minutes}m` : ""}${seconds}s`
}

const printed = (value: string | number): string => {
  const ms = durationMs(value)
  return ms === null ? String(value) : goDuration(ms)
}

const check = <C extends typeof Check.Type>(it: C): C => ({
  ...it,
  ...(it.interval === undefined ? {} : { interval: printed(it.interval) }),
  ...(it.timeout === undefined ? {} : { timeout: printed(it.timeout) }),
  ...(it.grace_period === undefined ? {} : { grace_period: printed(it.grace_period) })
})

/** Defaults filled in and durations as text, as Fly keeps it. */
export const normalized = (config: ModelConfig): ModelConfig => ({
  ...config,
  guest: { cpu_kind: "shared", cpus: 1, memory_mb: 256, ...config.guest },
  init: config.init ?? {},
  restart: { policy: "on-failure", max_retries: 10, ...config.restart },
  ...(config.services === undefined
    ? {}
    : {
        services: config.services.map((service) => ({
          ...service,
          autostart: service.autostart ?? false,
          ...(service.checks === undefined ? {} : { checks: service.checks.map(check) })
        }))
      }),
  ...(config.checks === undefined
    ? {}
    : { checks: Object.fromEntries(Object.entries(config.checks).map(([name, it]) => [name, check(it)])) }),
  ...(config.stop_config === undefined
    ? {}
    : {
        stop_config: {
          ...config.stop_config,
          ...(config.stop_config.timeout === undefined ? {} : { timeout: printed(config.stop_config.timeout) })
        }
      })
})

/** What is wrong with it in Fly's eyes; null where it would be taken. */
export const configProblem = (config: ModelConfig): string | null => {
  if (config.image === "") return "config.image is required"
  const { cpu_kind = "shared", cpus = 1, memory_mb = 256 } = config.guest ?? {}
  if (memory_mb % 256 !== 0) return `invalid config.guest.memory_mb, must be a multiple of 256`
  const [least, most] = cpu_kind === "performance" ? [2048, 8192] : [256, 2048]
  if (memory_mb < least * cpus || memory_mb > most * cpus) {
    return `invalid config.guest.memory_mb, must be in the range [${least * cpus}, ${most * cpus}] for ${cpus} ${cpu_kind} cpus`
  }
  if ((config.mounts?.length ?? 0) > 1) return "config.mounts: only one volume may be mounted"
  const timeout = config.stop_config?.timeout
  if (timeout !== undefined && durationMs(timeout) === null) return `time: invalid duration ${JSON.stringify(timeout)}`
  return null
}

/** Suspend needs at most 2 GB of memory, no swap and no schedule; otherwise Fly stops the machine instead. */
export const maySuspend = (config: ModelConfig): boolean =>
  (config.guest?.memory_mb ?? 256) <= 2048 && (config.init?.swap_size_mb ?? 0) === 0 && config.schedule === undefined

/** `autostop` reads back as `false`, `true` or `"suspend"`, whatever was written. */
export const readBack = (config: ModelConfig): Readonly<Record<string, unknown>> => ({
  ...config,
  ...(config.services === undefined
    ? {}
    : {
        services: config.services.map((service) => ({
          ...service,
          autostop:
            service.autostop === "suspend" ? "suspend" : service.autostop === "stop" || service.autostop === true
        }))
      })
})
