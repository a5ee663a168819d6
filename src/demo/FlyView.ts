/** What the demonstration looks up at the local Fly and at its processes. */
import { readdirSync, readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"

export interface FlyAddress {
  readonly url: string
  readonly app: string
  readonly token: Redacted.Redacted
}

class FlyRefused extends Schema.TaggedError<FlyRefused>()("FlyRefused", { status: Schema.Int }) {
  override get message() {
    return `the local Fly answered ${this.status}`
  }
}

const Machine = Schema.Struct({
  state: Schema.String,
  config: Schema.optionalKey(
    Schema.Struct({ mounts: Schema.optionalKey(Schema.Array(Schema.Struct({ volume: Schema.String }))) })
  )
})
const Volumes = Schema.Array(Schema.Struct({ id: Schema.String, state: Schema.String }))

/** Fly's budget is one listing a second, shared with the plane: who is refused asks again. */
const get = (fly: FlyAddress, path: string) =>
  Effect.flatMap(HttpClient.HttpClient, (http) =>
    http.execute(
      HttpClientRequest.get(`${fly.url}/v1/apps/${fly.app}${path}`).pipe(HttpClientRequest.bearerToken(fly.token))
    )
  ).pipe(
    Effect.filterOrFail(
      (response) => response.status === 200 || response.status === 404,
      (response) => new FlyRefused({ status: response.status })
    ),
    Effect.retry({ while: (error) => error._tag === "FlyRefused", times: 10, schedule: Schedule.spaced("1 second") })
  )

/** A machine that is not found any more counts as destroyed. */
export const machineAt = (fly: FlyAddress, id: string) =>
  Effect.gen(function* () {
    const response = yield* get(fly, `/machines/${id}`)
    if (response.status === 404) return { state: "destroyed", volumeId: null }
    const machine = yield* HttpClientResponse.schemaBodyJson(Machine)(response)
    return { state: machine.state, volumeId: machine.config?.mounts?.[0]?.volume ?? null }
  })

/** Ids of the volumes that are not deleted. */
export const volumesAt = (fly: FlyAddress) =>
  Effect.gen(function* () {
    const volumes = yield* Effect.flatMap(get(fly, "/volumes"), HttpClientResponse.schemaBodyJson(Volumes))
    return volumes.filter(({ state }) => state !== "pending_destroy" && state !== "destroyed").map(({ id }) => id)
  })

/** Every process of the machine is stopped (T); on systems without /proc Fly's word has to do. */
export const isStopped = (machineId: string): Effect.Effect<boolean> =>
  Effect.sync(() => {
    if (process.platform !== "linux") return true
    const states = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0")
          if (!environment.includes(`FLY_MACHINE_ID=${machineId}`)) return []
          const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
          return [stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3)]
        } catch {
          // Somebody else's, or ended meanwhile.
          return []
        }
      })
    return states.length > 0 && states.every((state) => state === "T")
  })
