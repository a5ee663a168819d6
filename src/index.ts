/**
 * The public face for embedding: domain, services, programs and layers. Fakes are in `valet/testing`, the typed client
 * of the HTTP API in `valet/client`.
 */
export * as Archive from "./domain/Archive.ts"
export * as Duration from "./domain/Duration.ts"
export * as Event from "./domain/Event.ts"
export * as Machine from "./domain/Machine.ts"
export * as Project from "./domain/Project.ts"
export * as ProjectId from "./domain/ProjectId.ts"
export * as RateLimit from "./domain/RateLimit.ts"

export { ConfigProblems, fromEnvironment, layerEnvironment } from "./config/Environment.ts"
export { defaultMargins, Margins, type MarginsValue, scaledMargins } from "./config/Margins.ts"
export { PlaneConfig, type PlaneConfigValue } from "./config/PlaneConfig.ts"

export { Archives } from "./services/db/Archives.ts"
export { ChangeFeed } from "./services/db/ChangeFeed.ts"
export { Machines } from "./services/db/Machines.ts"
export { Migrations } from "./services/db/Migrations.ts"
export { Plane } from "./services/db/Plane.ts"
export { layerPostgres, layerPostgresConfig } from "./services/db/Postgres.ts"
export { Projects, type ProjectView } from "./services/db/Projects.ts"
export { StoreError } from "./services/db/StoreError.ts"
export { Fly } from "./services/fly/Fly.ts"
export { FlyError } from "./services/fly/FlyError.ts"
export * as FlyHttp from "./services/fly/FlyHttp.ts"
export { Keys } from "./services/Keys.ts"
export { layerKeys } from "./services/KeysLive.ts"
export { Locks, LockLost, taskLocks } from "./services/locks/Locks.ts"
export { MachineClient, MachineError } from "./services/machine/MachineClient.ts"
export { layerMachineHttp, layerMachineHttpClient } from "./services/machine/MachineHttp.ts"
export { R2, R2Error } from "./services/r2/R2.ts"
export * as R2Live from "./services/r2/R2Live.ts"

export { layerLoops } from "./programs/background/Loops.ts"
export { LoopStatus } from "./programs/background/LoopStatus.ts"
export { Signals, type LoopName } from "./programs/background/Signals.ts"
export { sweep } from "./programs/dormancy/Sweep.ts"
export { Identity } from "./programs/Identity.ts"
export { archive } from "./programs/lifecycle/Archive.ts"
export * from "./programs/lifecycle/Lifecycle.ts"
export { layerLifecycle } from "./programs/lifecycle/LifecycleLive.ts"
export { Mender } from "./programs/lifecycle/Mender.ts"
export { replenishPool } from "./programs/pool/Replenish.ts"
export { discard } from "./programs/reconcile/Discard.ts"
export { recoverExpired } from "./programs/reconcile/Expired.ts"
export { observe } from "./programs/reconcile/Observe.ts"
export { reap } from "./programs/reconcile/Reap.ts"

export { PlaneHttp } from "./http/PlaneHttp.ts"
export { Router } from "./http/router/Router.ts"
export { Server } from "./http/Server.ts"
export * as ControlPlane from "./apps/ControlPlane.ts"

export { Front } from "./orchestrator/Front.ts"
export {
  defaults as orchestratorDefaults,
  OrchestratorConfig,
  type OrchestratorConfigValue
} from "./orchestrator/OrchestratorConfig.ts"
export { ProjectFolders, type ProjectPlan } from "./orchestrator/ProjectFolders.ts"
export { ServerHost, type ServerProcess } from "./orchestrator/ServerHost.ts"
export { Supervisor, Unavailable } from "./orchestrator/Supervisor.ts"
export * as Orchestrator from "./apps/Orchestrator.ts"
