/** Waits, leases and metadata of a machine. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { FlyWorld } from "../FlyWorld.ts"
import type { LeaseInput } from "../model/Leases.ts"
import { acquireLease, getLease, releaseLease } from "../model/Leases.ts"
import type { WaitableState } from "../model/MachineList.ts"
import { lookForState, waitableStates } from "../model/MachineList.ts"
import { getMachine } from "../model/Machines.ts"
import { changeMetadata, getMetadata, getMetadataKey } from "../model/Metadata.ts"
import { refusal } from "../model/Refusal.ts"
import { endpoint, integer, json, nothing, onTarget, param } from "./Endpoint.ts"
import { leaseJson } from "./Wire.ts"

const one = "/v1/apps/:app/machines/:machine"

/** Seconds, bare or as a Go duration of seconds; Fly allows 1 to 60 and takes 60 where none is given. */
const waitTimeout = (text: string | null): Effect.Effect<number, ReturnType<typeof refusal>> => {
  const match = /^([0-9]+)s?$/.exec(text ?? "60")
  const seconds = match === null ? Number.NaN : Number(match[1])
  return seconds >= 1 && seconds <= 60
    ? Effect.succeed(seconds * 1_000)
    : Effect.fail(
        refusal(
          400,
          `invalid_argument: invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]: ${text ?? ""}`
        )
      )
}

const isWaitable = (state: string): state is WaitableState => waitableStates.some((it) => it === state)

const wait = endpoint("GET", `${one}/wait`, (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const [app, target] = [param(input, "app"), param(input, "machine")]
    const timeoutMs = yield* waitTimeout(input.query.get("timeout"))
    const asked = input.query
      .getAll("state")
      .flatMap((it) => it.split(","))
      .filter((it) => it !== "")
    const states = asked.filter(isWaitable)
    if (states.length < asked.length) {
      return yield* Effect.fail(refusal(400, `invalid_argument: can't wait for state ${asked.join(", ")}`))
    }
    if (states.length === 0) states.push("started")
    const instanceId = input.query.get("instance_id") ?? input.query.get("version")
    const fromEventId = input.query.get("from_event_id")
    const look = lookForState(app, target, {
      states,
      ...(instanceId === null ? {} : { instanceId }),
      ...(fromEventId === null ? {} : { fromEventId })
    })
    const machine =
      (yield* world.call({ operation: "waitMachine", app, target }, look)) ??
      (yield* world.awaitAnswer(look, timeoutMs))
    if (machine !== null) {
      return json({
        ok: true,
        state: machine.state,
        version: machine.instanceId,
        event_id: machine.events[0]?.id ?? ""
      })
    }
    const current = yield* world.apply(getMachine(app, target))
    return yield* Effect.fail(
      refusal(
        408,
        `deadline_exceeded: machine failed to reach desired state, ${states.join(", ")}, currently ${current.state}`
      )
    )
  })
)

const LeaseBody = Schema.Struct({
  ttl: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  description: Schema.optionalKey(Schema.NullOr(Schema.String))
})

const acquire = endpoint("POST", `${one}/lease`, (input) =>
  Effect.gen(function* () {
    const body = yield* input.body(LeaseBody)
    const ttl = body.ttl ?? integer(input.query, "ttl")
    const wanted: LeaseInput = {
      ...(ttl === null || ttl === undefined ? {} : { ttl }),
      ...(body.description === null || body.description === undefined ? {} : { description: body.description }),
      ...(input.nonce === undefined ? {} : { nonce: input.nonce })
    }
    return json(leaseJson(yield* onTarget(input, "acquireLease", (app, id) => acquireLease(app, id, wanted))), 201)
  })
)

const lease = endpoint("GET", `${one}/lease`, (input) =>
  onTarget(input, "getLease", getLease).pipe(Effect.map((it) => json(leaseJson(it))))
)

const release = endpoint("DELETE", `${one}/lease`, (input) =>
  onTarget(input, "releaseLease", (app, id) => releaseLease(app, id, input.nonce)).pipe(
    Effect.as(json({ status: "success", data: { ok: true } }))
  )
)

const MetadataBody = Schema.Struct({
  metadata: Schema.Record(Schema.String, Schema.NullOr(Schema.String)),
  machine_version: Schema.optionalKey(Schema.NullOr(Schema.String))
})

const metadata = endpoint("GET", `${one}/metadata`, (input) =>
  onTarget(input, "getMetadata", getMetadata).pipe(Effect.map((it) => json(it)))
)

/** PUT is an alias of PATCH: keys that are not named stay, null or an empty value removes. */
const patch = (method: "PATCH" | "PUT") =>
  endpoint(method, `${one}/metadata`, (input) =>
    Effect.gen(function* () {
      const body = yield* input.body(MetadataBody)
      const set: Record<string, string> = {}
      const remove: Array<string> = []
      for (const [key, value] of Object.entries(body.metadata)) {
        if (value === null || value === "") remove.push(key)
        else set[key] = value
      }
      const version = body.machine_version ? { machineVersion: body.machine_version } : {}
      yield* onTarget(input, "setMetadata", (app, id) => changeMetadata(app, id, { set, remove, ...version }))
      return nothing(204)
    })
  )

const getKey = endpoint("GET", `${one}/metadata/:key`, (input) =>
  onTarget(input, "getMetadata", (app, id) => getMetadataKey(app, id, param(input, "key"))).pipe(
    Effect.map((value) => json({ value }))
  )
)

const setKey = endpoint("POST", `${one}/metadata/:key`, (input) =>
  input.body(Schema.Struct({ value: Schema.String })).pipe(
    Effect.flatMap(({ value }) =>
      onTarget(input, "setMetadata", (app, id) => changeMetadata(app, id, { set: { [param(input, "key")]: value } }))
    ),
    Effect.as(nothing(204))
  )
)

const deleteKey = endpoint("DELETE", `${one}/metadata/:key`, (input) =>
  onTarget(input, "deleteMetadata", (app, id) =>
    changeMetadata(app, id, { set: {}, remove: [param(input, "key")] })
  ).pipe(Effect.as(nothing(204)))
)

export const machineDetailRoutes = [
  wait,
  acquire,
  lease,
  release,
  metadata,
  patch("PATCH"),
  patch("PUT"),
  getKey,
  setKey,
  deleteKey
]
