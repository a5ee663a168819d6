/** The machine's own API, as Fly has it at `/.fly/api`: a unix socket through which it acts on itself without a token. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import { createServer } from "node:http"

/** Bytes of a unix socket's address on Linux, without the closing zero; a little less elsewhere. */
const longestPath = process.platform === "linux" ? 107 : 103

export const fits = (path: string): boolean => Buffer.byteLength(path) <= longestPath

/** Serves until the scope closes, at `path`, or in a short temporary folder where that is too long for a socket. */
export const serveAt = Effect.fnUntraced(function* <R>(
  path: string,
  answer: Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, R>
) {
  const fs = yield* FileSystem.FileSystem
  const socket = fits(path) ? path : `${yield* fs.makeTempDirectoryScoped({ directory: "/tmp", prefix: "fly" })}/api`
  yield* fs.remove(socket, { force: true })
  const server = yield* NodeHttpServer.make(() => createServer(), { path: socket, gracefulShutdownTimeout: 0 })
  yield* server.serve(answer)
  return socket
})

export type OwnAnswer = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  HttpServerRequest.HttpServerRequest | Scope.Scope
>
