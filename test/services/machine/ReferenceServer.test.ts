/** The same contract on the reference project server: SQLite on disk, HTTP, an S3 server. */
import * as Fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { MachineName } from "../../../src/domain/Machine.ts"
import * as LocalS3 from "../../../src/local/s3/LocalS3.ts"
import { Keys } from "../../../src/services/Keys.ts"
import type { Target } from "../../../src/services/machine/MachineClient.ts"
import { layerMachineHttp, layerMachineHttpClient } from "../../../src/services/machine/MachineHttp.ts"
import * as R2Live from "../../../src/services/r2/R2Live.ts"
import { configOf, connect, send, start, temporaryFolder } from "../../project-server/harness.ts"
import { machineContract, Subject } from "./contract.ts"
import { configured, layerTestKeys } from "./fakes.ts"

/** The port is the machine's id, so that the template finds it. */
const client = layerMachineHttp.pipe(
  Layer.provide([configured({ VALET_MACHINE_URL: "http://127.0.0.1:{machine_id}" }), layerMachineHttpClient])
)

const subject = (objects: string) =>
  Layer.effect(
    Subject,
    Effect.gen(function* () {
      const keys = yield* Keys
      const scope = yield* Effect.scope
      const running = new Map<string, { readonly folder: string; stop: Effect.Effect<void> }>()
      let machines = 0

      const boot = (target: Target, folder: string, port: number) =>
        Effect.gen(function* () {
          const own = yield* Scope.fork(scope)
          const internalSecret = yield* Effect.orDie(keys.machineSecret(target.name, target.keyId))
          const server = yield* Scope.provide(start(configOf(folder, { port, internalSecret })), own)
          running.set(target.name, { folder, stop: Scope.close(own, Exit.void) })
          return server.port
        }).pipe(Effect.orDie)

      const headers = (projectId: string) => ({ host: `${projectId}.example.com` })
      const document = (target: Target, method: string, projectId: string, key: string, body?: string) =>
        Effect.orDie(
          send(Number(target.machineId), method, `/projects/${projectId}/documents/${key}`, {
            headers: headers(projectId),
            ...(body === undefined ? {} : { body })
          })
        )
      const sentBack = (answer: { readonly headers: NodeJS.Dict<string | Array<string>> }) =>
        answer.headers["fly-replay"] !== undefined || answer.headers["x-valet-state"] !== undefined

      return Subject.of({
        machine: Effect.gen(function* () {
          machines += 1
          const folder = yield* Scope.provide(temporaryFolder, scope)
          const target = {
            name: MachineName.make(`v${machines}`),
            machineId: "",
            privateIp: null,
            keyId: keys.currentKeyId
          }
          const port = yield* boot(target, folder, 0)
          return { ...target, machineId: String(port) }
        }),
        restart: (target) =>
          Effect.gen(function* () {
            const before = running.get(target.name)
            if (before === undefined) return
            yield* before.stop
            yield* boot(target, before.folder, Number(target.machineId))
          }),
        write: (target, projectId, key, value) =>
          Effect.map(document(target, "PUT", projectId, key, JSON.stringify(value)), (answer) =>
            answer.status < 300 && !sentBack(answer) ? true : null
          ),
        read: (target, projectId, key) =>
          Effect.map(document(target, "GET", projectId, key), (answer) =>
            sentBack(answer) || answer.status >= 500
              ? null
              : answer.status === 404
                ? ""
                : typeof answer.json === "string"
                  ? answer.json
                  : answer.text
          ),
        connect: (target, projectId) =>
          Effect.asVoid(Effect.orDie(connect(Number(target.machineId), `/projects/${projectId}/ws`))),
        corrupt: (key) =>
          Effect.sync(() => {
            const files = Fs.readdirSync(objects, { recursive: true, encoding: "utf8" }).map((name) =>
              join(objects, name)
            )
            const file = files.find(
              (name) => Fs.statSync(name).isFile() && Fs.readFileSync(name, "latin1").includes(key)
            )
            if (file === undefined) return
            const bytes = Fs.readFileSync(file)
            bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1
            Fs.writeFileSync(file, bytes)
          })
      })
    })
  )

const layer = Layer.unwrap(
  Effect.gen(function* () {
    const objects = yield* temporaryFolder
    const s3 = LocalS3.layer({
      dataDir: objects,
      port: 0,
      bucket: "archives",
      accessKeyId: "local",
      secretAccessKey: Redacted.make("very-secret")
    })
    const r2 = Layer.unwrap(Effect.map(LocalS3.LocalS3, (s3) => R2Live.layerFrom(s3))).pipe(Layer.provide(s3))
    return Layer.mergeAll(subject(objects), client, r2).pipe(Layer.provide(layerTestKeys(configured({}))))
  })
)

machineContract("the reference project server", layer)
