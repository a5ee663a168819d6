/** Environment variables and flags with anything in them: a value within its bounds, or a problem that names it and no more. */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Command from "effect/cli/Command"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as fc from "fast-check"
import { devCommand } from "../../../src/cli/Dev.ts"
import { orchestratorCommand } from "../../../src/cli/Orchestrator.ts"
import { fromEnvironment } from "../../../src/config/Environment.ts"
import type { PlaneConfigValue } from "../../../src/config/PlaneConfig.ts"
import { groups } from "../../../src/config/Variables.ts"
import * as ProjectServerConfig from "../../../src/project-server/ProjectServerConfig.ts"
import { target } from "../FuzzTarget.ts"
import { edited, edits, hostile } from "../generate/Text.ts"
import { excerpt, Violation } from "../Violation.ts"

/** In every value that is refused: no problem, no line of the log may have it. */
const canary = "hunter2-canary"

const good: Readonly<Record<string, string>> = {
  DATABASE_URL: "postgres://valet:hunter2-canary@127.0.0.1/valet",
  CONTROL_PLANE_SECRET: "hunter2-canary-hunter2-canary-hunter2-canary",
  VALET_FLY_TOKEN: "hunter2-canary",
  VALET_FLY_APP: "projects",
  VALET_FLY_IMAGE: "registry.example/image:1",
  VALET_INTERNAL_SECRET: "hunter2-canary"
}

const names = groups.flatMap(({ variables }) => variables.map(({ name }) => name))

const values = fc.oneof(
  fc.constantFrom(
    "1",
    "0",
    "-1",
    "65536",
    "256",
    "512",
    "true",
    "off",
    "self",
    "5m",
    "999999999999d",
    "1e3",
    "sjc,ams",
    "sjc,sjc"
  ),
  fc.constantFrom(
    "https://{project_id}.example.com",
    "http://{machine_id}:1",
    "postgres://u:hunter2-canary@h/d",
    "x.example"
  ),
  fc.constantFrom(
    "https://x",
    "javascript:hunter2-canary",
    "(",
    "(a+)+$",
    "shared-cpu-16x",
    "performance-1x",
    "3/1m,0/1h",
    "1/1s"
  ),
  hostile.map((text) => `${canary}${text}`),
  hostile,
  fc.tuple(fc.constantFrom(...Object.values(good)), edits(hostile)).map(([text, changes]) => edited(text, changes))
)

const name = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...names) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "VALET_FLY",
      "VALET__",
      "R2",
      "R2_",
      "VALET_FLY_TOKEN_X",
      "__proto__",
      "ROUTER_0",
      "CREATE_PUBLIC_0"
    )
  },
  { weight: 1, arbitrary: hostile.map((text) => `VALET_${text}`) }
)

const within = (value: number, least: number, most: number) =>
  Number.isSafeInteger(value) && value >= least && value <= most
const tenYearsMs = 10 * 365 * 86_400_000

/** Nothing that a program would have to look at again. */
const outOfBounds = (config: PlaneConfigValue): string | undefined => {
  const checks: Readonly<Record<string, boolean>> = {
    port: within(config.port, 1, 65_535),
    memory: within(config.fly.vmMemoryMb, 256, 131_072),
    volume: within(config.fly.volumeGb, 1, 500),
    machines: within(config.fly.maxMachines, 1, 100_000),
    pool: within(config.pool.size, 0, 1_000),
    interval: within(config.pool.intervalMs, 1_000, 3_600_000),
    threshold: within(config.dormancy.thresholdMs, 1_000, tenYearsMs),
    sweep: within(config.dormancy.sweepIntervalMs, 1_000, 86_400_000),
    wake: within(config.router.wakeTimeoutMs, 1, 3_600_000),
    replay: within(config.router.replayTimeoutMs, 1, 3_600_000),
    region:
      config.fly.regions.includes(config.fly.region) && config.fly.regions.every((code) => /^[a-z]{3}$/.test(code)),
    app: /^[a-z0-9-]+$/.test(config.fly.app),
    domain: config.router.domain === null || /^[a-z0-9.-]+$/.test(config.router.domain),
    windows:
      config.create.windows === "off" ||
      config.create.windows.every(
        ({ limit, windowMs }) => within(limit, 1, 1e6) && within(windowMs, 1_000, Number.MAX_SAFE_INTEGER)
      ),
    template: config.router.publicUrl === null || URL.canParse(config.router.publicUrl.replaceAll("{project_id}", "a"))
  }
  return Object.entries(checks).find(([, holds]) => !holds)?.[0]
}

const fails = (detail: string) => Effect.fail(new Violation({ detail }))

export const environment = target({
  name: "environment",
  about: "environment variables of control plane and project server",
  share: 4,
  quick: 60,
  arbitrary: fc.record({
    complete: fc.boolean(),
    variables: fc.array(fc.tuple(name, values), { maxLength: 6 })
  }),
  open: Effect.succeed({
    check: ({
      complete,
      variables
    }: {
      readonly complete: boolean
      readonly variables: ReadonlyArray<readonly [string, string]>
    }) =>
      Effect.gen(function* () {
        const env = Object.fromEntries([...(complete ? Object.entries(good) : []), ...variables])
        const provider = ConfigProvider.fromEnvRecord(env)
        const provide = Effect.provideService(ConfigProvider.ConfigProvider, provider)
        const plane = yield* Effect.result(provide(fromEnvironment))
        const server = yield* Effect.result(provide(ProjectServerConfig.fromEnvironment))
        const refused = [
          ...(Result.isFailure(plane) ? [plane.failure] : []),
          ...(Result.isFailure(server) ? [server.failure] : [])
        ]
        for (const { message, problems } of refused) {
          if (message.includes(canary)) return yield* fails(`a value in ${excerpt(message)}`)
          const unknown = problems.find(({ variable }) => !names.includes(variable))
          if (unknown !== undefined || problems.length === 0)
            return yield* fails(`a problem without a name: ${excerpt(message)}`)
        }
        if (Result.isSuccess(plane)) {
          const bad = outOfBounds(plane.success)
          if (bad !== undefined) return yield* fails(`${bad} is out of bounds`)
        }
        if (Result.isSuccess(server)) {
          const { idleTimeoutSeconds, port, routerApp } = server.success
          if (!within(port, 0, 65_535) || !within(idleTimeoutSeconds, 1, tenYearsMs))
            return yield* fails("out of bounds")
          if (routerApp !== null && !/^[a-z0-9-]+$/.test(routerApp)) return yield* fails(`an app ${excerpt(routerApp)}`)
        }
      }),
    probe: Effect.gen(function* () {
      const provider = ConfigProvider.fromEnvRecord(good)
      const read = Effect.provideService(fromEnvironment, ConfigProvider.ConfigProvider, provider)
      yield* Effect.mapError(read, ({ message }) => new Violation({ detail: message }))
    }),
    secrets: () => [canary]
  })
})

const flag = fc.constantFrom(
  "--port",
  "--host",
  "--domain",
  "--idle-timeout",
  "--health-check-interval",
  "--health-path",
  "--spawn-timeout",
  "--stop-grace",
  "--max-servers",
  "--warm-servers",
  "--max-lifetime",
  "--response-timeout",
  "--spawn-rate",
  "--allow",
  "--existing-only",
  "--trusted-proxies",
  "--instances",
  "--pool-size",
  "--margin-scale",
  "--sweep-interval",
  "--json",
  "--nonsense",
  "--__proto__",
  "-x",
  "--",
  "-"
)
const argument = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(flag, values).map(([name, value]) => [name, value]) },
  { weight: 2, arbitrary: fc.tuple(flag, values).map(([name, value]) => [`${name}=${value}`]) },
  { weight: 1, arbitrary: flag.map((name) => [name]) },
  { weight: 1, arbitrary: values.map((value) => [value]) },
  { weight: 1, arbitrary: values.map((value) => ["--admin-token", `${canary}${value}`]) }
)

const numeric = (flags: object): string | undefined => {
  for (const [name, value] of Object.entries(flags)) {
    if (typeof value === "number" && !(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) return `${name} is ${value}`
    if (name === "port" && !within(Number(value), 0, 65_535)) return `${name} is ${value}`
  }
  return undefined
}

/** Whatever is printed. */
const capture = (lines: Array<string>): Console.Console => {
  const write = (...parts: ReadonlyArray<unknown>) => void lines.push(parts.map(String).join(" "))
  return { ...globalThis.console, log: write, error: write, info: write, warn: write, debug: write }
}

export const commandLine = target({
  name: "command-line",
  about: "flags of `orchestrator` and `dev`",
  share: 1,
  quick: 20,
  arbitrary: fc.record({
    command: fc.constantFrom("orchestrator" as const, "dev" as const),
    arguments: fc.array(argument, { maxLength: 5 }).map((groups) => groups.flat())
  }),
  open: Effect.succeed({
    check: (input: { readonly command: "orchestrator" | "dev"; readonly arguments: ReadonlyArray<string> }) =>
      Effect.gen(function* () {
        const lines: Array<string> = []
        let flags: object | undefined
        const keep = (given: object) => Effect.sync(() => void (flags = given))
        const config = { version: "0" }
        const run =
          input.command === "dev"
            ? Command.runWith(devCommand.pipe(Command.withHandler((given) => keep(given))), config)(input.arguments)
            : Command.runWith(
                orchestratorCommand.pipe(Command.withHandler((given) => keep(given))),
                config
              )(input.arguments)
        yield* run.pipe(
          Effect.provide(NodeServices.layer),
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnvRecord({})),
          Effect.provideService(Console.Console, capture(lines)),
          // What it refuses it says.
          Effect.catch((error) => Effect.sync(() => void lines.push(String(error))))
        )
        const said = lines.join("\n")
        if (flags === undefined && said === "") return yield* fails("neither run nor refused")
        const bad = flags === undefined ? undefined : numeric(flags)
        if (bad !== undefined) return yield* fails(bad)
        if (/\n\s+at /.test(said)) return yield* fails(`a stack: ${excerpt(said)}`)
      }),
    probe: Effect.void
  })
})
