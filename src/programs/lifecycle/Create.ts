/**
 * A project is its row: creating one succeeds when the row commits. The same statement claims a pool machine; bringing
 * it up may outlast the caller, and fail without the create failing.
 */
import * as Effect from "effect/Effect"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import * as Ids from "../Ids.ts"
import { generate } from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Keys } from "../../services/Keys.ts"
import { begunWake, mineAfterAll } from "./Begin.ts"
import { unavailable } from "./Failures.ts"
import * as Reasons from "./Lifecycle.ts"
import type { CreateInput } from "./Lifecycle.ts"
import { leaseMs } from "./limits.ts"

/** A generated id that is taken is drawn again; with 47 bits the second draw never is. */
const draws = 3

const refuse = (reason: Reasons.CreateError["reason"]) => Effect.fail(new Reasons.CreateError({ reason }))

/** `Begun` is still to be brought up; `Repeated` was created before with the same idempotency key. */
export const insertProject = Effect.fn("create")(
  function* (input: CreateInput) {
    const config = yield* PlaneConfig
    const projects = yield* Projects
    const keys = yield* Keys
    const region = input.region ?? config.fly.region
    if (!config.fly.regions.includes(region)) {
      const allowed = config.fly.regions.join(", ")
      return yield* refuse(new Reasons.BadRegion({ detail: `allowed regions: ${allowed}` }))
    }
    const windows = config.create.windows
    for (let draw = 0; draw < draws; draw++) {
      const projectId: ProjectId = input.projectId ?? (yield* generate)
      const uid = yield* Ids.projectUid
      const deployKey = yield* keys.newDeployKey
      const operationId = yield* Ids.operationId
      const outcome = yield* projects
        .create({
          projectId,
          uid,
          region,
          deployKey: yield* keys.seal(uid, deployKey),
          idleTimeoutSeconds: input.idleTimeoutSeconds,
          operationId,
          leaseMs,
          claim: { image: config.fly.image, region },
          limit: input.client === null || windows === "off" ? null : { client: input.client, windows },
          idempotency:
            input.idempotencyKey === null ? null : { client: input.client ?? "bearer", key: input.idempotencyKey }
        })
        .pipe(mineAfterAll(projectId, operationId, begunWake))
      switch (outcome._tag) {
        case "Begun":
          return { _tag: "Begun" as const, begun: outcome, deployKey }
        case "Repeated": {
          const { project } = outcome.view
          return {
            _tag: "Repeated" as const,
            view: outcome.view,
            deployKey: yield* keys.open(project.uid, project.deployKey)
          }
        }
        case "RateLimited":
          return yield* refuse(
            new Reasons.RateLimited({
              retryAfterMs: outcome.retryAfterMs,
              detail: "too many projects were created from this address"
            })
          )
        case "Refused":
          return yield* refuse(unavailable("the database did not say whether the project was created"))
        case "Exists":
          if (input.projectId !== null) {
            return yield* refuse(new Reasons.Exists({ detail: `${projectId} was used before` }))
          }
      }
    }
    return yield* refuse(unavailable("no free project id was drawn"))
  },
  Effect.mapError((error) =>
    error._tag === "CreateError" ? error : new Reasons.CreateError({ reason: unavailable(error) })
  )
)
