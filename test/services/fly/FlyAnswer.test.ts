/** Every answer that Fly is known to give, and what it means. */
import { assert, describe, it } from "@effect/vitest"
import { reasonOf, reasonOfSilence, reasonOfTransport, type Effects } from "../../../src/services/fly/FlyAnswer.ts"
import { errorOf } from "../../../src/services/fly/FlyWire.ts"

interface Row {
  readonly of: Effects
  readonly status: number
  readonly error?: string
  readonly message?: string
  readonly code?: string
  readonly bound?: boolean
  readonly is: string
}

const rows: ReadonlyArray<Row> = [
  { of: "once", status: 400, error: "invalid_argument: bad region", is: "Rejected" },
  { of: "once", status: 400, error: "volume not found", is: "NotFound" },
  { of: "once", status: 400, error: "volume size (10 GiB) is smaller than the snapshot size", is: "Rejected" },
  { of: "read", status: 401, error: "unauthenticated", is: "Rejected" },
  { of: "read", status: 403, error: "you are not authorized to view this app", is: "Rejected" },
  {
    of: "once",
    status: 403,
    error: 'organization "x" is using 2048 MB of memory in dfw which is over the allowed quota',
    is: "Capacity quota"
  },
  { of: "read", status: 404, error: "machine not found", is: "NotFound" },
  {
    of: "wait",
    status: 408,
    error: "deadline_exceeded: machine failed to reach desired state, started, currently created",
    is: "WaitTimeout"
  },
  { of: "once", status: 408, error: "deadline_exceeded: could not create in time", is: "UnknownOutcome" },
  { of: "repeatable", status: 408, error: "deadline_exceeded", is: "UnknownOutcome" },
  { of: "read", status: 408, error: "deadline_exceeded", is: "Transient" },
  {
    of: "repeatable",
    status: 409,
    error:
      "aborted: could not reserve resource for machine: insufficient memory available to fulfill request on the current host",
    is: "Capacity host"
  },
  {
    of: "once",
    status: 409,
    error:
      "aborted: could not reserve resource for machine: insufficient CPUs available to fulfill request on the current host",
    is: "Capacity host"
  },
  {
    of: "once",
    status: 409,
    error: "aborted: insufficient resources available to fulfill request",
    is: "Capacity region"
  },
  {
    of: "repeatable",
    bound: true,
    status: 409,
    error: "aborted: insufficient resources available to fulfill request",
    is: "Capacity host"
  },
  { of: "once", status: 409, error: "aborted: no capacity", is: "Capacity region" },
  {
    of: "once",
    status: 409,
    error: 'already_exists: unique machine name violation, machine ID 185e712b300de8 already exists with name "vp1"',
    is: "Conflict 185e712b300de8"
  },
  { of: "once", status: 409, error: "aborted: machine update failed due to concurrent update", is: "Conflict" },
  {
    of: "repeatable",
    status: 409,
    message: "machine ID 185e712b300de8 lease currently held by a@tokens.fly.io, expires at 2026-01-01T00:00:00Z",
    code: "error",
    is: "Conflict"
  },
  {
    of: "repeatable",
    status: 412,
    error: "failed_precondition: unable to start machine from current state: 'created'",
    is: "Transient"
  },
  {
    of: "repeatable",
    status: 412,
    error: "failed_precondition: unable to start machine from current state: 'replacing'",
    is: "Transient"
  },
  {
    of: "repeatable",
    status: 412,
    error: "failed_precondition: unable to start machine from current state: 'stopping'",
    is: "Transient"
  },
  {
    of: "repeatable",
    status: 412,
    error: "failed_precondition: machine getting replaced, refusing to start",
    is: "Transient"
  },
  {
    of: "repeatable",
    status: 412,
    error: "failed_precondition: machine still active, refusing to start",
    is: "Transient"
  },
  {
    of: "repeatable",
    status: 412,
    error: "failed_precondition: volume is currently bound to machine: 185e712b300de8",
    is: "Conflict"
  },
  {
    of: "once",
    status: 412,
    error: "failed_precondition: volume already claimed by machine 185e712b300de8",
    is: "Conflict"
  },
  {
    of: "once",
    status: 412,
    error: "insufficient resources to create new machine with existing volume 'vol_1'",
    code: "volume_placement_capacity",
    is: "Capacity volume_placement"
  },
  { of: "once", status: 412, error: "min_secrets_version 12 not yet available", is: "Transient" },
  { of: "repeatable", status: 412, error: "machine_version mismatch", is: "Conflict" },
  { of: "once", status: 412, error: "snapshot is already scheduled at 2026-01-01", is: "Conflict" },
  {
    of: "once",
    status: 422,
    error: "could not find a candidate host",
    code: "insufficient_capacity",
    is: "Capacity region"
  },
  { of: "once", status: 422, error: "no room for you", code: "insufficient_capacity", is: "Capacity region" },
  {
    of: "once",
    status: 422,
    error: "Your organization has reached its machine limit. Please contact billing@fly.io",
    is: "Capacity quota"
  },
  {
    of: "once",
    status: 422,
    error: "Validation failed: Name has already been taken",
    code: "name_taken",
    is: "Conflict"
  },
  { of: "once", status: 422, error: "config.guest.cpus is not valid", is: "Rejected" },
  { of: "once", status: 429, error: "rate limit exceeded", is: "RateLimited" },
  { of: "once", status: 500, error: "internal", is: "UnknownOutcome" },
  { of: "read", status: 500, error: "internal", is: "Transient" },
  { of: "once", status: 502, error: "<html>Bad Gateway</html>", is: "UnknownOutcome" },
  { of: "read", status: 502, error: "<html>Bad Gateway</html>", is: "Transient" },
  { of: "once", status: 503, error: "unavailable: deploys to this host are temporarily disabled", is: "Transient" },
  { of: "once", status: 504, error: "gateway timeout", is: "UnknownOutcome" },
  { of: "wait", status: 400, error: "invalid_argument: value must be inside range [1s, 1m0s]", is: "Rejected" },
  { of: "wait", status: 400, error: "failed_precondition: the machine can't reach this state", is: "Conflict" },
  { of: "wait", status: 400, error: "machine 1 is currently replaced", is: "Transient" }
]

const shown = (reason: ReturnType<typeof reasonOf>) => {
  if (reason._tag === "Capacity") return `Capacity ${reason.scope}`
  return reason._tag === "Conflict" && reason.existingId !== null ? `Conflict ${reason.existingId}` : reason._tag
}

describe("Fly's answers", () => {
  it.each(rows)("$status to a call of kind $of: $error$message → $is", (row) => {
    const { text, code } = errorOf(JSON.stringify({ error: row.error, message: row.message, status: row.code }))
    const bound = row.bound === true
    const reason = reasonOf({ status: row.status, text, code, retryAfterMs: null, effects: row.of, bound }, "detail")
    assert.strictEqual(shown(reason), row.is)
    assert.strictEqual(reason.detail, "detail")
  })

  it("reads both shapes of errors, and what is neither", () => {
    assert.deepStrictEqual(errorOf('{"error":"a","status":"b","details":{}}'), { text: "a", code: "b" })
    assert.deepStrictEqual(errorOf('{"status":"error","message":"m"}'), { text: "m", code: "error" })
    assert.deepStrictEqual(errorOf("<html>"), { text: "<html>", code: "" })
  })

  it("a refused connection did not happen, a broken one may have", () => {
    for (const code of ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"])
      assert.strictEqual(reasonOfTransport(code, "once")._tag, "Transient")
    for (const code of ["ECONNRESET", "UND_ERR_SOCKET", "EPIPE"]) {
      assert.strictEqual(reasonOfTransport(code, "once")._tag, "UnknownOutcome")
      assert.strictEqual(reasonOfTransport(code, "repeatable")._tag, "UnknownOutcome")
      assert.strictEqual(reasonOfTransport(code, "read")._tag, "Transient")
    }
    assert.strictEqual(reasonOfSilence("once", "silence")._tag, "UnknownOutcome")
    assert.strictEqual(reasonOfSilence("wait", "silence")._tag, "Transient")
  })
})
