/** The project server's configuration as a value, and its reader from the environment. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { ConfigProblems } from "../config/Environment.ts"
import type { Problem } from "../config/Variable.ts"
import { projectServer } from "../config/Variables.ts"
import { limits } from "../contract/MachineProtocol.ts"

export interface ProjectServerConfigValue {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly dataDir: string
  /** Holds the state file: what `configure` and its like have told. */
  readonly stateDir: string
  readonly databasePath: string
  /** Null: unmanaged. It serves `projectId` at once and has no machine protocol. */
  readonly internalSecret: Redacted.Redacted | null
  readonly projectId: string | null
  /**
   * Requests may have come by a stale route, as at Fly: one that names another project, by Host or path, is sent back.
   * Elsewhere whoever sends a request here knows what it is for, and a Host may be any.
   */
  readonly comparesAddress: boolean
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

const variables = projectServer

/** Longer than any pause of a healthy object store, shorter than the shortest limit of a caller. */
const stallMs = 30_000

const reads: ReadonlyArray<Effect.Effect<unknown, Problem>> = Object.values(variables).map(({ read }) => read)

const compose = Effect.gen(function* () {
  const dataDir = (yield* variables.dataDir.read).replace(/\/+$/, "")
  const internalSecret = yield* variables.internalSecret.read
  const projectId = yield* variables.projectId.read
  const app = yield* variables.flyApp.read
  const machine = yield* variables.flyMachine.read
  const own = internalSecret !== null && (yield* variables.idleSuspend.read) === "self"
  if (internalSecret === null && projectId === null) {
    const problem = "is not set, and neither is VALET_INTERNAL_SECRET"
    return yield* Effect.fail<Problem>({ variable: "PROJECT_ID", problem })
  }
  return {
    host: (yield* variables.host.read) ?? (machine === null ? "127.0.0.1" : "::"),
    port: yield* variables.port.read,
    dataDir,
    stateDir: ((yield* variables.stateDir.read) ?? dataDir).replace(/\/+$/, ""),
    databasePath: (yield* variables.databasePath.read) ?? `${dataDir}/project.db`,
    internalSecret,
    projectId: internalSecret === null ? projectId : null,
    comparesAddress: internalSecret !== null && machine !== null,
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
