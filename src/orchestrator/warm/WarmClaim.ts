/** What is said to a warm server over HTTP when it becomes a project's. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as ByteSize from "effect/ByteSize"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Protocol from "../../contract/MachineProtocol.ts"

export class ClaimFailed extends Schema.TaggedError<ClaimFailed>()("ClaimFailed", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

export class WarmClaim extends Context.Service<
  WarmClaim,
  {
    /** `POST /internal/configure`; false while it is still at it: the same call polls. */
    configure(
      port: number,
      secret: Redacted.Redacted,
      request: Protocol.ConfigureRequest
    ): Effect.Effect<boolean, ClaimFailed>
    /** Whose it says that it is, in what its health path answers with 2xx; null where that names nobody. */
    projectOf(port: number, healthPath: string): Effect.Effect<string | null, ClaimFailed>
  }
>()("valet/WarmClaim") {
  static readonly layerNoDeps = Layer.effect(
    WarmClaim,
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient

      const unanswered = ({ reason }: HttpClientError.HttpClientError) =>
        new ClaimFailed({ detail: `no answer (${reason._tag})` })

      const bodyOf = (stream: Stream.Stream<Uint8Array, HttpClientError.HttpClientError>) =>
        stream.pipe(
          Stream.mapError(unanswered),
          Stream.limitBytes(ByteSize.bytes(Protocol.limits.maxBodyBytes), () =>
            Stream.fail(new ClaimFailed({ detail: "its answer has no end" }))
          ),
          Stream.decodeText(),
          Stream.mkString
        )

      const ask = (request: HttpClientRequest.HttpClientRequest) =>
        client.execute(request).pipe(
          Effect.mapError(unanswered),
          Effect.flatMap(({ status, stream }) => Effect.map(bodyOf(stream), (body) => ({ status, body }))),
          Effect.timeoutOrElse({
            duration: answerMs,
            orElse: () => Effect.fail(new ClaimFailed({ detail: `no answer within ${answerMs} ms` }))
          })
        )

      return WarmClaim.of({
        configure: Effect.fn("WarmClaim.configure")(function* (port, secret, body) {
          const answer = yield* HttpClientRequest.post(`http://127.0.0.1:${port}/internal/configure`).pipe(
            HttpClientRequest.bearerToken(Redacted.value(secret)),
            HttpClientRequest.bodyJsonUnsafe(body),
            ask
          )
          if (answer.status === 202) return false
          if (answer.status !== 200) {
            return yield* new ClaimFailed({ detail: `configure was answered with ${answer.status}` })
          }
          const { ready } = yield* Effect.mapError(
            decodeConfigured(answer.body),
            () => new ClaimFailed({ detail: "the answer to configure is not the machine protocol's" })
          )
          return ready ? true : yield* new ClaimFailed({ detail: "configure was answered, and it is not ready" })
        }),
        projectOf: Effect.fn("WarmClaim.projectOf")(function* (port, healthPath) {
          const { body, status } = yield* ask(HttpClientRequest.get(`http://127.0.0.1:${port}${healthPath}`))
          if (status < 200 || status > 299) return null
          return yield* decodeHealth(body).pipe(
            Effect.map(({ project_id }) => project_id),
            Effect.orElseSucceed(() => null)
          )
        })
      })
    })
  )

  /** A connection for each call: the server's own count of connections is its clients'. */
  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide(NodeHttpClient.layerNodeHttpOptions({ keepAlive: false }))
  )
}

/** The protocol answers a long call with 202 in time; the margin is for a machine under load. */
const answerMs = Protocol.limits.longCallMs + 5_000

const decodeConfigured = Schema.decodeUnknownEffect(Schema.fromJsonString(Protocol.ConfigureResponse))
const decodeHealth = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Struct({ project_id: Schema.NullOr(Schema.String) }))
)
