/** The project server's configuration as a value, and its reader from the environment. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { ConfigProblems } from "../config/Environment.ts"
import * as Variable from "../config/Variable.ts"
import { limits } from "../contract/MachineProtocol.ts"

export interface ProjectServerConfigValue {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  /** Holds the state file, and temporary files beside it. */
  readonly dataDir: string
  readonly databasePath: string
  /** Null: unmanaged. It serves `projectId` at once and has no machine protocol. */
  readonly internalSecret: Redacted.Redacted | null
  readonly projectId: string | null
  /** Opens export and import of an unmanaged server; a managed one is told its key. */
  readonly deployKey: Redacted.Redacted | null
  /** Of a server that was never told one by `configure`. */
  readonly routerApp: string | null
  /** Null: never suspends itself. */
  readonly suspend: { readonly api: string; readonly app: string; readonly machine: string } | null
  readonly idleTimeoutSeconds: number
  readonly longCallMs: number
  /** A transfer that moves no byte for so long has failed. */
  readonly stallMs: number
}

export class ProjectServerConfig extends Context.Service<ProjectServerConfig, ProjectServerConfigValue>()(
  "valet/ProjectServerConfig"
) {}

const label = Variable.pattern("a project id", /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)

export const variables = {
  host: Variable.text.optional("HOST", "Address to listen on.", "`::` on Fly, else `127.0.0.1`"),
  port: Variable.integer(0, 65_535).withDefault("PORT", "3000", "Port of the project server; 0 takes a free one."),
  dataDir: Variable.text.withDefault("DATA_DIR", "/data", "Folder of its database: the machine's volume."),
  databasePath: Variable.text.optional("DATABASE_PATH", "The database itself.", "DATA_DIR/project.db"),
  internalSecret: Variable.credential.optional(
    "VALET_INTERNAL_SECRET",
    "The machine's own secret, given to it by the control plane; without it the server serves PROJECT_ID at once."
  ),
  projectId: label.optional("PROJECT_ID", "The project of a server without a control plane."),
  deployKey: Variable.credential.optional("DEPLOY_KEY", "Opens export and import on a server without a control plane."),
  routerApp: Variable.text.optional("VALET_ROUTER_APP", "Fly app to which a server sends back what is not its own."),
  idleSuspend: Variable.oneOf("self", "fly").withDefault(
    "VALET_IDLE_SUSPEND",
    "self",
    "`self`: the server suspends its own machine when idle; `fly`: Fly's proxy does."
  ),
  machineApi: Variable.text.withDefault(
    "VALET_FLY_MACHINE_API",
    "/.fly/api",
    "Socket (or URL) of the machine's own API, through which it suspends itself."
  ),
  idleTimeout: Variable.duration("s", 1_000).withDefault(
    "VALET_IDLE_TIMEOUT_SECS",
    "300",
    "Without traffic for so long it suspends its machine, unless its project's settings say otherwise."
  ),
  flyApp: Variable.text.optional("FLY_APP_NAME", "Set by Fly."),
  flyMachine: Variable.text.optional("FLY_MACHINE_ID", "Set by Fly.")
}

/** Longer than any pause of a healthy object store, shorter than the shortest limit of a caller. */
const stallMs = 30_000

const reads: ReadonlyArray<Effect.Effect<unknown, Variable.Problem>> = Object.values(variables).map(({ read }) => read)

const compose = Effect.gen(function* () {
  const dataDir = (yield* variables.dataDir.read).replace(/\/+$/, "")
  const internalSecret = yield* variables.internalSecret.read
  const projectId = yield* variables.projectId.read
  const app = yield* variables.flyApp.read
  const machine = yield* variables.flyMachine.read
  const own = internalSecret !== null && (yield* variables.idleSuspend.read) === "self"
  if (internalSecret === null && projectId === null) {
    const problem = "is not set, and neither is VALET_INTERNAL_SECRET"
    return yield* Effect.fail<Variable.Problem>({ variable: "PROJECT_ID", problem })
  }
  return {
    host: (yield* variables.host.read) ?? (machine === null ? "127.0.0.1" : "::"),
    port: yield* variables.port.read,
    dataDir,
    databasePath: (yield* variables.databasePath.read) ?? `${dataDir}/project.db`,
    internalSecret,
    projectId: internalSecret === null ? projectId : null,
    deployKey: yield* variables.deployKey.read,
    routerApp: yield* variables.routerApp.read,
    suspend: own && app !== null && machine !== null ? { api: yield* variables.machineApi.read, app, machine } : null,
    idleTimeoutSeconds: Math.round((yield* variables.idleTimeout.read) / 1_000),
    longCallMs: limits.longCallMs,
    stallMs
  }
})

/** Reports every problem at once, by variable. */
export const fromEnvironment: Effect.Effect<ProjectServerConfigValue, ConfigProblems> = Effect.gen(function* () {
  const problems = (yield* Effect.forEach(reads, Effect.result)).filter(Result.isFailure).map(({ failure }) => failure)
  if (problems.length > 0) return yield* new ConfigProblems({ problems })
  return yield* Effect.mapError(compose, (problem) => new ConfigProblems({ problems: [problem] }))
})
