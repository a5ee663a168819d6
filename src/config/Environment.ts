/**
 * The control plane's configuration from its environment (any `ConfigProvider`). All problems are reported at once, by
 * the variables' names and without their values.
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import { guestOf } from "../contract/MachineConfig.ts"
import { Margins, scaledMargins } from "./Margins.ts"
import { PlaneConfig, type PlaneConfigValue } from "./PlaneConfig.ts"
import { similarNames } from "./SimilarNames.ts"
import type { Problem } from "./Variable.ts"
import * as Variables from "./Variables.ts"

/** Every problem of a configuration; a program that ends with it exits with code 2. */
export class ConfigProblems extends Schema.TaggedError<ConfigProblems>()("ConfigProblems", {
  problems: Schema.Array(Schema.Struct({ variable: Schema.String, problem: Schema.String }))
}) {
  override readonly [Runtime.errorExitCode] = 2
  override get message() {
    return ["configuration:", ...this.problems.map(({ variable, problem }) => `  ${variable} ${problem}`)].join("\n")
  }
}

const { core, fly, pool, dormancy, r2, router } = Variables

type Problems = ReadonlyArray<Problem>
const one = Effect.mapError((problem: Problem): Problems => [problem])

const regions = Effect.gen(function* () {
  const [region, allowed] = yield* one(Effect.all([fly.region.read, fly.regions.read]))
  if (region !== null && allowed !== null && !allowed.includes(region)) {
    return yield* Effect.fail<Problems>([{ variable: "VALET_FLY_REGION", problem: "must be one of VALET_FLY_REGIONS" }])
  }
  const first = region ?? allowed?.[0] ?? "sjc"
  return { region: first, regions: [first, ...(allowed ?? []).filter((code) => code !== first)] }
})

/** Fly's bounds of memory per CPU; it refuses anything else only when a machine is created. */
const memoryPerCpuMb = { shared: { least: 256, most: 2048 }, performance: { least: 2048, most: 8192 } } as const

const guest = Effect.gen(function* () {
  const [vmSize, vmMemoryMb] = yield* one(Effect.all([fly.vmSize.read, fly.vmMemoryMb.read]))
  const wanted = guestOf(vmSize, vmMemoryMb)
  if (wanted === undefined) {
    return yield* Effect.fail<Problems>([{ variable: "VALET_FLY_VM_SIZE", problem: "must be a size that Fly has" }])
  }
  const { least, most } = memoryPerCpuMb[wanted.cpu_kind]
  if (vmMemoryMb < least * wanted.cpus || vmMemoryMb > most * wanted.cpus || vmMemoryMb % 256 !== 0) {
    const problem = `must be a multiple of 256 from ${least * wanted.cpus} to ${most * wanted.cpus} for this VALET_FLY_VM_SIZE`
    return yield* Effect.fail<Problems>([{ variable: "VALET_FLY_VM_MEMORY_MB", problem }])
  }
  return { vmSize, vmMemoryMb }
})

const bucket = Effect.gen(function* () {
  const endpoint = yield* one(r2.endpoint.read)
  const accessKeyId = yield* one(r2.accessKeyId.read)
  const secretAccessKey = yield* one(r2.secretAccessKey.read)
  if (endpoint !== null && accessKeyId !== null && secretAccessKey !== null) {
    return { endpoint, accessKeyId, secretAccessKey, bucket: yield* one(r2.bucket.read) }
  }
  const values = [
    { variable: r2.endpoint.name, value: endpoint },
    { variable: r2.accessKeyId.name, value: accessKeyId },
    { variable: r2.secretAccessKey.name, value: secretAccessKey }
  ]
  const missing = values.filter(({ value }) => value === null)
  if (missing.length === values.length) return null
  return yield* Effect.fail<Problems>(
    missing.map(({ variable }) => ({ variable, problem: "is not set, but other R2 variables are" }))
  )
})

const secrets = Effect.gen(function* () {
  const secret = yield* core.secret.read
  const secretPrevious = yield* core.secretPrevious.read
  const internal = yield* core.internalSecret.read
  const internalPrevious = yield* core.internalSecretPrevious.read
  const fallen = internal === null ? secretPrevious : null
  const internalSecretsPrevious = [...(internalPrevious ?? []), ...(fallen === null ? [] : [fallen])]
  return { secret, secretPrevious, internalSecret: internal ?? secret, internalSecretsPrevious }
})

/** Fly sets FLY_APP_NAME in each of its machines. */
const flyAppName = Effect.gen(function* () {
  const provider = yield* ConfigProvider.ConfigProvider
  const node = yield* provider.load(["FLY_APP_NAME"])
  return node?.value ?? null
}).pipe(Effect.orElseSucceed(() => null))

const database = Effect.gen(function* () {
  const url = yield* core.databaseUrl.read
  return { url, directUrl: (yield* core.databaseDirectUrl.read) ?? url }
})

const compose: Effect.Effect<PlaneConfigValue, Problems> = Effect.gen(function* () {
  const { region, regions: allowed } = yield* regions
  const { vmSize, vmMemoryMb } = yield* guest
  const app = yield* flyAppName
  const archives = yield* bucket
  return yield* one(
    Effect.gen(function* () {
      const noWake = yield* router.noWake.read
      return {
        port: yield* core.port.read,
        host: yield* core.host.read,
        ...(yield* secrets),
        database: yield* database,
        fly: {
          apiUrl: yield* fly.apiUrl.read,
          token: yield* fly.token.read,
          app: yield* fly.app.read,
          region,
          regions: allowed,
          vmSize,
          vmMemoryMb,
          image: yield* fly.image.read,
          volumeGb: yield* fly.volumeGb.read,
          maxMachines: yield* fly.maxMachines.read,
          machineUrl: yield* fly.machineUrl.read,
          idleSuspend: yield* fly.idleSuspend.read
        },
        r2: archives,
        pool: { size: yield* pool.size.read, intervalMs: yield* pool.intervalMs.read },
        dormancy: {
          thresholdMs: yield* dormancy.thresholdMs.read,
          sweepIntervalMs: yield* dormancy.sweepIntervalMs.read
        },
        router: {
          domain: (yield* router.domain.read)?.toLowerCase() ?? null,
          app,
          wakeTimeoutMs: yield* router.wakeTimeoutMs.read,
          replayTimeoutMs: yield* router.replayTimeoutMs.read,
          replayFallback: yield* router.replayFallback.read,
          noWake: noWake === "off" ? null : noWake,
          publicUrl: yield* core.publicUrl.read
        },
        create: { windows: yield* core.createRateLimit.read, public: yield* core.createPublic.read },
        onFly: app !== null
      }
    })
  )
})

const checks: ReadonlyArray<Effect.Effect<unknown, Problems>> = [
  ...Variables.planeVariables.map(({ read }) => one(read)),
  regions,
  guest,
  bucket
]

/** A check that reads a broken variable finds its problem again. */
const distinct = (problems: Problems): Problems =>
  problems.filter(
    ({ variable, problem }, index) =>
      index === problems.findIndex((other) => other.variable === variable && other.problem === problem)
  )

const asError = (problems: Problems) => new ConfigProblems({ problems: distinct(problems) })

/** Unknown variables that look like ours are logged as warnings. */
export const fromEnvironment: Effect.Effect<PlaneConfigValue, ConfigProblems> = Effect.gen(function* () {
  yield* Effect.forEach(yield* similarNames, (warning) => Effect.logWarning(warning), { discard: true })
  const results = yield* Effect.forEach(checks, Effect.result)
  const problems = results.filter(Result.isFailure).flatMap(({ failure }) => failure)
  if (problems.length > 0) return yield* asError(problems)
  return yield* Effect.mapError(compose, asError)
})

/** The database alone, for what needs nothing else. */
export const databaseFromEnvironment: Effect.Effect<PlaneConfigValue["database"], ConfigProblems> = Effect.mapError(
  one(database),
  asError
)

/** A problem of it is among those that `fromEnvironment` reports. */
export const layerMargins = Layer.effect(Margins, Effect.map(core.marginScale.read, scaledMargins)).pipe(
  Layer.catchCause(() => Layer.empty)
)

export const layerEnvironment: Layer.Layer<PlaneConfig, ConfigProblems> = Layer.effect(PlaneConfig, fromEnvironment)
