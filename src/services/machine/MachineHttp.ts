/**
 * `MachineClient` over HTTP on the private network. A machine's name resolves only while it is started, and a moment
 * late, so its address is tried where the name does not connect.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { limits } from "../../contract/MachineProtocol.ts"
import { Keys } from "../Keys.ts"
import { Failure, interpret } from "./MachineAnswer.ts"
import { machineClient, type MachineRequest, type Send } from "./MachineCalls.ts"
import { MachineClient, Refused, type Target, Unreachable } from "./MachineClient.ts"

/** Node's codes for "no such name" and "nobody listens": the request was never sent. */
const notListening = new Set([
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "UND_ERR_CONNECT_TIMEOUT"
])

const codeOf = (cause: unknown): string | undefined => {
  if (Predicate.hasProperty(cause, "code") && typeof cause.code === "string") return cause.code
  // Of several addresses that were tried, and of clients that wrap the socket's error.
  if (cause instanceof AggregateError) return codeOf(cause.errors[0])
  return Predicate.hasProperty(cause, "cause") ? codeOf(cause.cause) : undefined
}

const transportFailure = (error: HttpClientError.HttpClientError): Failure => {
  const code = codeOf(error.reason.cause)
  const unsent = code !== undefined && notListening.has(code)
  return new Failure(new Unreachable({ detail: code ?? error.reason._tag }), unsent ? "boot" : "again")
}

/** The name first, then the address. */
const addressesOf = (template: string, app: string, target: Target): ReadonlyArray<string> => [
  ...(target.machineId === null
    ? []
    : [template.replaceAll("{machine_id}", target.machineId).replaceAll("{app}", app)]),
  ...(target.privateIp === null ? [] : [`http://[${target.privateIp}]:3000`])
]

/** Another machine may have the address by now, so a refusal from there says nothing of this one. */
const atAddress = (failure: Failure): Failure =>
  failure.reason._tag === "Refused"
    ? new Failure(new Unreachable({ detail: `another server has its address (${failure.reason.status})` }), "boot")
    : failure

/** Refuses what is larger than any answer of the protocol, however long it goes on. */
const bodyOf = (stream: Stream.Stream<Uint8Array, HttpClientError.HttpClientError>, status: number) =>
  stream.pipe(
    Stream.mapError(transportFailure),
    Stream.limitBytes(ByteSize.bytes(limits.maxBodyBytes), () =>
      Stream.fail(new Failure(new Refused({ status, detail: "its answer has no end" }), "no"))
    ),
    Stream.decodeText(),
    Stream.mkString
  )

const make = Effect.gen(function* () {
  const client = yield* HttpClient.HttpClient
  const { machineUrl, app } = (yield* PlaneConfig).fly

  const to = <A>({ call, secret, body, timeoutMs }: MachineRequest<A>, base: string) => {
    const bare = HttpClientRequest.make(call.method)(`${base}${call.path}`)
    const request = HttpClientRequest.bearerToken(
      call.method === "GET" ? bare : HttpClientRequest.bodyJsonUnsafe(bare, body),
      Redacted.value(secret)
    )
    return client.execute(request).pipe(
      Effect.mapError(transportFailure),
      Effect.flatMap(({ status, stream }) =>
        Effect.flatMap(bodyOf(stream, status), (text) => interpret(call, status, text))
      ),
      Effect.timeoutOrElse({
        duration: timeoutMs,
        orElse: () => Effect.fail(new Failure(new Unreachable({ detail: `silent for ${timeoutMs} ms` }), "again"))
      })
    )
  }

  const send: Send = (request) => {
    const [first, second] = addressesOf(machineUrl, app, request.target)
    if (first === undefined) {
      return Effect.fail(new Failure(new Unreachable({ detail: "it has neither id nor address yet" }), "no"))
    }
    if (second === undefined) return to(request, first)
    return Effect.catchIf(
      to(request, first),
      ({ retry }) => retry === "boot",
      () => Effect.mapError(to(request, second), atAddress)
    )
  }

  return machineClient(send, yield* Keys)
})

/** Needs a client that does not follow redirects by itself, as Node's do not. */
export const layerMachineHttp: Layer.Layer<MachineClient, never, HttpClient.HttpClient | Keys | PlaneConfig> =
  Layer.effect(MachineClient, make)

/**
 * Connections are kept for a moment only: behind an old one there may be a machine that was suspended since. A connect
 * that hangs ends early, so that the second address is tried within the limit of a short call.
 */
export const layerMachineHttpClient: Layer.Layer<HttpClient.HttpClient> = NodeHttpClient.layerUndiciOptions({
  keepAliveTimeout: 1_000,
  keepAliveMaxTimeout: 1_000,
  connect: { timeout: 1_500 }
})
