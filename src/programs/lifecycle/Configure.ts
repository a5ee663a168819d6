/**
 * The one call that makes a started machine a project's server, restoring its archive first where it has one. The
 * machine answers 202 within a second while it restores, so "does it answer" and "how long may it take" are apart.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { ConfigureRequest } from "../../contract/MachineProtocol.ts"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import type { Lease, Project } from "../../domain/Project.ts"
import { Keys } from "../../services/Keys.ts"
import { MachineClient, MachineError, Unreachable } from "../../services/machine/MachineClient.ts"
import { R2 } from "../../services/r2/R2.ts"
import { raising } from "./Generation.ts"
import { stallMs, transferLimitMs, urlLifeMs } from "./limits.ts"

/** Signed anew for each attempt, for this key and method, for as long as the call may take. */
const restoreOf = (archive: ArchiveRow, limitMs: number) =>
  Effect.gen(function* () {
    const size = archive.size ?? 0
    const url = yield* (yield* R2).presignGet(archive.r2Key, Math.ceil(urlLifeMs(limitMs) / 1_000))
    return { r2_key: archive.r2Key, r2_checksum: archive.r2Checksum ?? "", size, download_url: url.url }
  })

/**
 * Ends a call that has not answered at all within `answerMs`, or whose bytes stopped moving for longer than a database
 * of `size` bytes gives reason to. `watch` is to be run with the bytes of each progress report.
 */
export const whileMoving = <A, E, R>(
  machine: string,
  call: string,
  answerMs: number,
  size: number,
  body: (watch: (bytes: number) => Effect.Effect<void>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | MachineError, R> =>
  Effect.gen(function* () {
    const begun = yield* Clock.currentTimeMillis
    const seen = yield* Ref.make({ bytes: -1, deadline: begun + answerMs })
    const watch = (bytes: number) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Ref.update(seen, (last) => (bytes > last.bytes ? { bytes, deadline: now + stallMs(size) } : last))
      )
    const guard = Effect.gen(function* () {
      for (;;) {
        const { bytes, deadline } = yield* Ref.get(seen)
        const now = yield* Clock.currentTimeMillis
        if (now >= deadline) {
          const detail = bytes < 0 ? `no answer within ${answerMs} ms` : `no byte moved for ${stallMs(size)} ms`
          return yield* new MachineError({ call, machine, reason: new Unreachable({ detail }) })
        }
        yield* Effect.sleep(deadline - now)
      }
    })
    return yield* Effect.raceFirst(body(watch), guard)
  })

export interface ConfigureOptions {
  readonly archive: ArchiveRow | null
  readonly answerMs: number
  readonly attempts?: number
}

export const configure = Effect.fn("configure")(function* (
  holder: Ref.Ref<Lease>,
  project: Project,
  machine: MachineRow,
  options: ConfigureOptions
) {
  const config = yield* PlaneConfig
  const client = yield* MachineClient
  const deployKey = yield* (yield* Keys).open(project.uid, project.deployKey)
  const size = options.archive?.size ?? 0
  const limitMs = options.answerMs + transferLimitMs(size)
  const attempt = Effect.fnUntraced(function* (generation: number) {
    const restore = options.archive === null ? null : yield* restoreOf(options.archive, limitMs)
    const body: ConfigureRequest = {
      project_id: project.projectId,
      project_uid: project.uid,
      deploy_key: Redacted.value(deployKey),
      generation,
      ...(project.settings.idleTimeoutSeconds === null
        ? {}
        : { idle_timeout_seconds: project.settings.idleTimeoutSeconds }),
      ...(config.router.app === null ? {} : { router_app: config.router.app }),
      ...(restore === null ? {} : { restore })
    }
    return yield* whileMoving(machine.name, "configure", options.answerMs, size, (watch) =>
      client.configure(machine, body, {
        limitMs,
        ...(options.attempts === undefined ? {} : { attempts: options.attempts }),
        onProgress: watch
      })
    )
  })
  return yield* raising(holder, (lease) => attempt(lease.generation))
})
