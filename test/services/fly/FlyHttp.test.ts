import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { Fly } from "../../../src/services/fly/Fly.ts"
import * as Scripted from "./scripted.ts"
import { TOKEN, config, machine, passing, volume, type Script } from "./scripted.ts"

const run = <A, E>(script: Script, use: (fly: Fly["Service"]) => Effect.Effect<A, E>) => {
  const { layer, sent, lines } = Scripted.make(script)
  return Effect.gen(function* () {
    const exit = yield* Effect.exit(passing(Effect.flatMap(Fly, use).pipe(Effect.provide(layer))))
    return { exit, sent, lines: lines() }
  })
}

const ok = <A, E>(script: Script, use: (fly: Fly["Service"]) => Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const { exit, sent, lines } = yield* run(script, use)
    return { value: yield* exit, sent, lines }
  })

const failing = <A, E>(script: Script, use: (fly: Fly["Service"]) => Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const { exit, sent, lines } = yield* run(script, use)
    return { error: yield* Effect.flip(exit), sent, lines }
  })

describe("requests and answers", () => {
  it.effect("a machine is read with the token, whatever Fly leaves out", () =>
    Effect.gen(function* () {
      const { value, sent, lines } = yield* ok(
        () => ({ status: 200, body: machine() }),
        (fly) => fly.getMachine("m1")
      )
      assert.deepStrictEqual(lines, ["GET /machines/m1"])
      assert.strictEqual(sent[0]?.headers["authorization"], `Bearer ${TOKEN}`)
      assert.deepStrictEqual(value, {
        id: "m1",
        name: "vp1",
        state: "created",
        region: "sjc",
        instanceId: "01INSTANCE",
        privateIp: "fdaa::1",
        hostStatus: "ok",
        image: "registry.example/project:1",
        volumeId: "vol_1",
        metadata: { valet_plane: "plane-1", valet_name: "vp1" },
        createdAt: Date.UTC(2026, 0, 2, 3, 4, 5)
      })
      const { value: away } = yield* ok(
        () => ({
          status: 200,
          body: { id: "m2", state: "a_new_state", host_status: "unreachable", incomplete_config: config }
        }),
        (fly) => fly.getMachine("m2")
      )
      assert.strictEqual(away.state, "a_new_state")
      assert.strictEqual(away.hostStatus, "unreachable")
      assert.strictEqual(away.volumeId, "vol_1")
    })
  )

  it.effect("lists leave out soft-deleted volumes, and take null for none", () =>
    Effect.gen(function* () {
      const all = [
        volume(),
        volume({ id: "vol_2", state: "pending_destroy" }),
        volume({ id: "vol_3", state: "restoring" })
      ]
      const { value } = yield* ok(
        () => ({ status: 200, body: all }),
        (fly) => fly.listVolumes
      )
      assert.deepStrictEqual(
        value.map(({ id }) => id),
        ["vol_1", "vol_3"]
      )
      const { value: none } = yield* ok(
        () => ({ status: 200, body: "null" }),
        (fly) => fly.listMachines
      )
      assert.deepStrictEqual(none, [])
    })
  )

  it.effect("the rest of the interface sends what Fly documents", () =>
    Effect.gen(function* () {
      const { sent, lines } = yield* ok(
        ({ line }) => {
          if (line.startsWith("GET /machines/m1/metadata")) return { status: 200, body: { a: "b" } }
          if (line.includes("/snapshots")) return { status: 200, body: [{ id: "vs_1", size: 7 }] }
          if (line.startsWith("GET /volumes") || line === "POST /volumes") return { status: 200, body: volume() }
          if (line === "POST /machines" || line === "POST /machines/m1") return { status: 200, body: machine() }
          return line.startsWith("POST /machines/m1/metadata") ? { status: 204 } : { status: 200, body: { ok: true } }
        },
        Effect.fnUntraced(function* (fly) {
          yield* fly.createVolume({
            name: "vp1",
            region: "sjc",
            sizeGb: 2,
            compute: config.guest,
            sourceVolumeId: "vol_0"
          })
          yield* fly.getVolume("vol_1")
          assert.deepStrictEqual(yield* fly.listSnapshots("vol_1"), [{ id: "vs_1", createdAt: 0, sizeBytes: 7 }])
          yield* fly.deleteVolume("vol_1")
          yield* fly.createMachine({ name: "vp1", region: "sjc", config, skipLaunch: true })
          yield* fly.updateMachine("m1", config)
          yield* fly.startMachine("m1")
          yield* fly.stopMachine("m1")
          yield* fly.suspendMachine("m1")
          yield* fly.deleteMachine("m1")
          assert.deepStrictEqual(yield* fly.getMetadata("m1"), { a: "b" })
          yield* fly.setMetadata("m1", "key", "value")
        })
      )
      assert.deepStrictEqual(lines, [
        "POST /volumes",
        "GET /volumes/vol_1",
        "GET /volumes/vol_1/snapshots",
        "DELETE /volumes/vol_1",
        "POST /machines",
        "POST /machines/m1",
        "POST /machines/m1/start",
        "POST /machines/m1/stop",
        "POST /machines/m1/suspend",
        "DELETE /machines/m1?force=true",
        "GET /machines/m1/metadata",
        "POST /machines/m1/metadata/key"
      ])
      assert.deepStrictEqual(sent[0]?.body, {
        name: "vp1",
        region: "sjc",
        size_gb: 2,
        compute: { cpu_kind: "shared", cpus: 1, memory_mb: 256 },
        require_unique_zone: false,
        source_volume_id: "vol_0"
      })
      assert.deepStrictEqual(sent[4]?.body, { name: "vp1", region: "sjc", config, skip_launch: true })
      assert.deepStrictEqual(sent[5]?.body, { config })
      assert.deepStrictEqual(sent[11]?.body, { value: "value" })
    })
  )

  it.effect("the token shows in no error and no log, Fly's request id in both", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make((options) => {
        logged.push(
          JSON.stringify(options.message),
          JSON.stringify(options.fiber.getRef(References.CurrentLogAnnotations))
        )
      })
      const { error } = yield* failing(
        () => ({ status: 422, body: { error: `bad token ${TOKEN} here` } }),
        (fly) => fly.getMachine("m1")
      ).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(References.MinimumLogLevel, "All"))
      assert.strictEqual(error.reason._tag, "Rejected")
      assert.include(error.message, "01REQ")
      assert.notInclude(error.message, TOKEN)
      assert.include(logged.join("\n"), "01REQ")
      assert.notInclude(logged.join("\n"), TOKEN)
    })
  )
})

describe("repeats", () => {
  it.effect("a read is repeated over 503, a broken connection and silence", () =>
    Effect.gen(function* () {
      const { value, lines } = yield* ok(
        (_, count) => {
          if (count === 1) return { status: 503 }
          if (count === 2) return { breaks: "ECONNRESET" }
          return count === 3 ? "silence" : { status: 200, body: machine() }
        },
        (fly) => fly.getMachine("m1")
      )
      assert.strictEqual(value.id, "m1")
      assert.strictEqual(lines.length, 4)
    })
  )

  it.effect("a read that is refused for good ends within its limit", () =>
    Effect.gen(function* () {
      const { error, sent } = yield* failing(
        () => ({ status: 503 }),
        (fly) => fly.getMachine("m1")
      )
      assert.strictEqual(error.reason._tag, "Transient")
      assert.isTrue(error.retryable)
      assert.isAtMost(sent.at(-1)?.at ?? 0, 15_000)
      assert.isAtLeast(sent.length, 4)
    })
  )

  it.effect("Retry-After is kept to, and given back where it is too long", () =>
    Effect.gen(function* () {
      const { sent } = yield* ok(
        (_, count) =>
          count === 1 ? { status: 429, headers: { "retry-after": "4" } } : { status: 200, body: machine() },
        (fly) => fly.getMachine("m1")
      )
      assert.isAtLeast(sent[1]?.at ?? 0, 4_000)
      const { error, lines } = yield* failing(
        () => ({ status: 429, headers: { "retry-after": "60" } }),
        (fly) => fly.getMachine("m1")
      )
      assert.isTrue(error.reason._tag === "RateLimited" && error.reason.retryAfterMs === 60_000)
      assert.strictEqual(lines.length, 1)
    })
  )

  it.effect("an update whose outcome is unknown is not sent twice", () =>
    Effect.gen(function* () {
      const { error, lines } = yield* failing(
        () => ({ breaks: "ECONNRESET" }),
        (fly) => fly.updateMachine("m1", config)
      )
      assert.strictEqual(error.reason._tag, "UnknownOutcome")
      assert.isFalse(error.retryable)
      assert.deepStrictEqual(lines, ["POST /machines/m1"])
    })
  )

  it.effect("a start waits out the preparation", () =>
    Effect.gen(function* () {
      const preparing = "failed_precondition: unable to start machine from current state: 'created'"
      const { sent } = yield* ok(
        ({ at }) => (at < 40_000 ? { status: 412, body: { error: preparing } } : { status: 200, body: {} }),
        (fly) => fly.startMachine("m1")
      )
      assert.isAtLeast(sent.at(-1)?.at ?? 0, 40_000)
    })
  )

  it.effect("starting what is started, and deleting what is gone, succeeds", () =>
    Effect.gen(function* () {
      yield* ok(
        ({ line }) =>
          line.startsWith("GET")
            ? { status: 200, body: machine({ state: "started" }) }
            : { status: 412, body: { error: "failed_precondition: machine is started already" } },
        (fly) => fly.startMachine("m1")
      )
      yield* ok(
        () => ({ status: 404, body: { error: "machine not found" } }),
        (fly) => Effect.andThen(fly.deleteMachine("m1"), fly.deleteVolume("vol_1"))
      )
      const { error } = yield* failing(
        () => ({ status: 404, body: { error: "machine not found" } }),
        (fly) => fly.startMachine("m1")
      )
      assert.strictEqual(error.reason._tag, "NotFound")
    })
  )

  it.effect("a machine on its way out counts as deleted, one that stays does not", () =>
    Effect.gen(function* () {
      const deleting = (state: string) =>
        run(
          ({ line }) =>
            line.startsWith("GET")
              ? { status: 200, body: machine({ state }) }
              : { status: 409, body: { status: "error", message: "lease currently held by x" } },
          (fly) => fly.deleteMachine("m1")
        )
      assert.strictEqual((yield* deleting("destroying")).exit._tag, "Success")
      const { exit } = yield* deleting("started")
      const error = yield* Effect.flip(exit)
      assert.strictEqual(error.reason._tag, "Conflict")
    })
  )

  it.effect("a bound volume is a conflict", () =>
    Effect.gen(function* () {
      const { error } = yield* failing(
        ({ line }) =>
          line.startsWith("GET")
            ? { status: 200, body: volume({ attached_machine_id: "m1" }) }
            : { status: 412, body: { error: "failed_precondition: volume is currently bound to machine: m1" } },
        (fly) => fly.deleteVolume("vol_1")
      )
      assert.strictEqual(error.reason._tag, "Conflict")
    })
  )
})

const list = "GET /machines?metadata.valet_name=vp1"

describe("creates happen once", () => {
  it.effect("one that timed out is found by name and adopted", () =>
    Effect.gen(function* () {
      const { value, lines } = yield* ok(
        ({ line }, count) => {
          if (line === "POST /machines") return { status: 408, body: { error: "deadline_exceeded" } }
          return { status: 200, body: count < 3 ? [machine({ id: "other", name: "vp2" })] : [machine()] }
        },
        (fly) => fly.createMachine({ name: "vp1", region: "sjc", config })
      )
      assert.strictEqual(value.id, "m1")
      assert.deepStrictEqual(lines, ["POST /machines", list, list, list])
    })
  )

  it.effect("one that is not there is sent again, then given up as unknown", () =>
    Effect.gen(function* () {
      const { error, lines } = yield* failing(
        ({ line }) => (line === "POST /machines" ? { breaks: "ECONNRESET" } : { status: 200, body: [] }),
        (fly) => fly.createMachine({ name: "vp1", region: "sjc", config })
      )
      assert.strictEqual(error.reason._tag, "UnknownOutcome")
      assert.strictEqual(lines.filter((line) => line === "POST /machines").length, 3)
    })
  )

  it.effect("one that can't be looked for is not sent again", () =>
    Effect.gen(function* () {
      const { error, lines } = yield* failing(
        ({ line }) => (line === "POST /volumes" ? { breaks: "ECONNRESET" } : { status: 500 }),
        (fly) => fly.createVolume({ name: "vp1", region: "sjc", sizeGb: 1, compute: config.guest })
      )
      assert.strictEqual(error.reason._tag, "UnknownOutcome")
      assert.strictEqual(lines.filter((line) => line === "POST /volumes").length, 1)
    })
  )

  const violation = {
    status: 409,
    body: { error: 'already_exists: unique machine name violation, machine ID m1 already exists with name "vp1"' }
  }

  it.effect("a name that is taken by ourselves is adopted, by another it is a conflict", () =>
    Effect.gen(function* () {
      const creating = (existing: Readonly<Record<string, unknown>>) =>
        run(
          ({ line }) => (line === "POST /machines" ? violation : { status: 200, body: machine(existing) }),
          (fly) => fly.createMachine({ name: "vp1", region: "sjc", config })
        )
      assert.strictEqual((yield* (yield* creating({})).exit).id, "m1")
      const foreign = { config: { ...config, metadata: { ...config.metadata, valet_plane: "another" } } }
      const elsewhere = { config: { ...config, mounts: [{ volume: "vol_9", path: "/data" }] } }
      for (const existing of [foreign, elsewhere, { state: "destroyed" }]) {
        const error = yield* Effect.flip((yield* creating(existing)).exit)
        assert.isTrue(error.reason._tag === "Conflict" && error.reason.existingId === "m1")
      }
    })
  )

  it.effect("capacity and refusals come back at once", () =>
    Effect.gen(function* () {
      const { error, lines } = yield* failing(
        () => ({ status: 422, body: { error: "could not find a candidate host", status: "insufficient_capacity" } }),
        (fly) => fly.createMachine({ name: "vp1", region: "sjc", config })
      )
      // The machine goes to its volume, so it is this host that is full.
      assert.isTrue(error.reason._tag === "Capacity" && error.reason.scope === "host")
      assert.strictEqual(lines.length, 1)
    })
  )

  it.effect("one that was certainly not sent is sent again without a look", () =>
    Effect.gen(function* () {
      const { lines } = yield* ok(
        (_, count) => (count < 3 ? { breaks: "ECONNREFUSED" } : { status: 200, body: machine() }),
        (fly) => fly.createMachine({ name: "vp1", region: "sjc", config })
      )
      assert.deepStrictEqual(lines, ["POST /machines", "POST /machines", "POST /machines"])
    })
  )

  it.effect("an answer that can't be read is looked for", () =>
    Effect.gen(function* () {
      const { value } = yield* ok(
        ({ line }) => (line === "POST /volumes" ? { status: 200, body: "{half" } : { status: 200, body: [volume()] }),
        (fly) => fly.createVolume({ name: "vp1", region: "sjc", sizeGb: 1, compute: config.guest })
      )
      assert.strictEqual(value.id, "vol_1")
    })
  )
})

describe("waiting for a state", () => {
  const expired = (afterMs: number) => ({
    status: 408,
    body: { error: "deadline_exceeded: machine failed to reach desired state, started, currently created" },
    afterMs
  })

  it.effect("a long wait is made of waits of a minute", () =>
    Effect.gen(function* () {
      const { lines, sent } = yield* ok(
        (_, count) => (count < 3 ? expired(60_000) : { status: 200, body: { ok: true, state: "started" } }),
        (fly) => fly.waitForMachine("m1", 300_000)
      )
      assert.deepStrictEqual(
        lines,
        Array.from({ length: 3 }, () => "GET /machines/m1/wait?state=started&timeout=60")
      )
      assert.isAtLeast(sent[2]?.at ?? 0, 120_000)
    })
  )

  it.effect("it ends at the caller's time, also where Fly is silent", () =>
    Effect.gen(function* () {
      const slow = yield* failing(
        () => expired(10_000),
        (fly) => fly.waitForMachine("m1", 25_000)
      )
      assert.strictEqual(slow.error.reason._tag, "WaitTimeout")
      assert.isBelow(slow.sent.at(-1)?.at ?? 0, 25_000)
      const silent = yield* failing(
        () => "silence",
        (fly) => fly.waitForState("m1", "suspended", 3_000)
      )
      assert.strictEqual(silent.error.reason._tag, "WaitTimeout")
    })
  )

  it.effect("a version that is being replaced is asked for again", () =>
    Effect.gen(function* () {
      const { lines } = yield* ok(
        ({ line }, count) => {
          if (line === "GET /machines/m1") return { status: 200, body: machine({ instance_id: `01V${count}` }) }
          return line.includes("01V1")
            ? { status: 400, body: { error: "machine version 01V1 is currently replaced" } }
            : { status: 200, body: { ok: true } }
        },
        (fly) => fly.waitForState("m1", "stopped", 600_000)
      )
      assert.include(lines.at(-1), "state=stopped&timeout=60&instance_id=01V2")
    })
  )

  it.effect("a machine that is gone is destroyed, and nothing else", () =>
    Effect.gen(function* () {
      const missing = () => ({ status: 404, body: { error: "machine not found" } })
      yield* ok(missing, (fly) => fly.waitForState("m1", "destroyed", 5_000))
      const { error } = yield* failing(missing, (fly) => fly.waitForState("m1", "started", 5_000))
      assert.strictEqual(error.reason._tag, "NotFound")
    })
  )

  it.effect("a state out of reach is a conflict at once", () =>
    Effect.gen(function* () {
      const { error, lines } = yield* failing(
        () => ({ status: 400, body: { error: "failed_precondition: unreachable" } }),
        (fly) => fly.waitForState("m1", "started", 60_000)
      )
      assert.strictEqual(error.reason._tag, "Conflict")
      assert.strictEqual(lines.length, 1)
    })
  )
})
