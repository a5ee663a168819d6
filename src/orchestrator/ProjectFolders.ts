/** The data folder's projects: who may have a server, and what runs it. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { formatDuration } from "../domain/Duration.ts"
import type { ProjectId } from "../domain/ProjectId.ts"
import { parse as parseId } from "../domain/ProjectId.ts"
import * as Allow from "./folders/Allow.ts"
import * as HostIndex from "./folders/HostIndex.ts"
import * as ProjectFile from "./folders/ProjectFile.ts"
import * as SafeFile from "./folders/SafeFile.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { OrchestratorFolder } from "./OrchestratorFolder.ts"

export interface ProjectPlan {
  readonly id: ProjectId
  /** Absolute, made if it was not there, and inside the data folder also where links are followed. */
  readonly folder: string
  readonly command: ReadonlyArray<string>
  readonly cwd: string
  /** PROJECT_ID, DATA_DIR, DATABASE_PATH and what `valet.json` adds. */
  readonly env: Readonly<Record<string, string>>
  readonly idleTimeoutMs: number
  readonly healthPath: string
  readonly maxMemoryMb: number | null
  /** It runs exactly what a warm server runs. */
  readonly warm: boolean
}

/** `forbidden`: not allowed or not existing, told apart for nobody outside. `invalid`: its folder or valet.json can't be used. */
export class NoPlan extends Schema.TaggedError<NoPlan>()("NoPlan", {
  reason: Schema.Literals(["forbidden", "invalid"]),
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

const forbidden = (id: string) => new NoPlan({ reason: "forbidden", detail: `there is no project ${id}` })

const make = Effect.gen(function* () {
  const config = yield* OrchestratorConfig
  const { root } = yield* OrchestratorFolder
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const allows = yield* Allow.compile(config.allow)
  const folderOf = (id: ProjectId) => path.join(root, id)
  const fileOf = (id: ProjectId) => path.join(root, id, ProjectFile.fileName)

  /** Only the folder itself: a link in its place could lead anywhere. */
  const isFolder = (id: ProjectId) =>
    SafeFile.look(folderOf(id)).pipe(
      Effect.map(({ kind }) => kind),
      Effect.orElseSucceed(() => "other" as const)
    )

  const serves = (id: ProjectId) =>
    parseId(id) === undefined || !allows(id)
      ? Effect.succeed(false)
      : Effect.map(isFolder(id), (kind) => kind === "folder" || (kind === "missing" && !config.existingOnly))

  const invalid = (id: ProjectId, problems: ReadonlyArray<string>) =>
    new NoPlan({
      reason: "invalid",
      detail: problems.map((problem) => `${id}/${ProjectFile.fileName}: ${problem}`).join("\n")
    })

  const ensure = Effect.fnUntraced(function* (id: ProjectId) {
    if (!(yield* serves(id))) return yield* forbidden(id)
    const folder = folderOf(id)
    if ((yield* isFolder(id)) === "missing") {
      yield* fs
        .makeDirectory(folder, { recursive: true, mode: 0o700 })
        .pipe(Effect.mapError((error) => new NoPlan({ reason: "invalid", detail: error.message })))
    }
    const real = yield* Effect.orElseSucceed(fs.realPath(folder), () => "")
    if (real !== folder || (yield* isFolder(id)) !== "folder") return yield* forbidden(id)
    return folder
  })

  const read = Effect.fnUntraced(function* (id: ProjectId) {
    const text = yield* SafeFile.readText(fileOf(id), ProjectFile.limitBytes).pipe(
      Effect.mapError(({ detail }) => new NoPlan({ reason: "invalid", detail }))
    )
    if (text === null) return {}
    const parsed = ProjectFile.parse(text)
    if (Result.isFailure(parsed)) return yield* invalid(id, parsed.failure)
    return parsed.success
  })

  const workingFolder = Effect.fnUntraced(function* (id: ProjectId, folder: string, cwd: string) {
    const real = yield* Effect.orElseSucceed(fs.realPath(path.join(folder, cwd)), () => "")
    const inside = real === folder || real.startsWith(folder + path.sep)
    if (real !== "" && !inside) return yield* invalid(id, ["cwd leads out of the project's folder"])
    const kind = real === "" ? "missing" : yield* Effect.option(fs.stat(real))
    if (kind === "missing" || kind._tag === "None" || kind.value.type !== "Directory") {
      return yield* invalid(id, ["cwd is no folder"])
    }
    return real
  })

  const versionOf = (id: ProjectId) =>
    SafeFile.look(fileOf(id)).pipe(
      Effect.map(({ version }) => version),
      Effect.orElseSucceed(() => "")
    )

  const hostsOf = (file: ProjectFile.ProjectFile) => (file.hosts ?? []).map((host) => host.toLowerCase())

  const all = fs.readDirectory(root).pipe(
    Effect.orElseSucceed(() => []),
    Effect.map((names) => names.flatMap((name) => parseId(name) ?? []).toSorted()),
    Effect.flatMap((ids) =>
      Effect.filter(ids, (id) => Effect.map(isFolder(id), (kind) => kind === "folder"), { concurrency: 16 })
    )
  )

  const index = yield* HostIndex.make(
    Effect.map(all, (ids) => ids.filter(allows)),
    Effect.fnUntraced(function* (id, known) {
      // Looked at before it is read: what changes in between is read again the next time.
      const version = yield* versionOf(id)
      if (known !== undefined && known.version === version) return known
      const file = yield* Effect.option(read(id))
      return { version, hosts: file._tag === "Some" ? hostsOf(file.value) : [] }
    })
  )

  const plan = Effect.fn("ProjectFolders.plan")(function* (id: ProjectId) {
    const folder = yield* ensure(id)
    const version = yield* versionOf(id)
    const file = yield* read(id)
    yield* index.note(id, { version, hosts: hostsOf(file) })
    const { command, cwd, env, health_path, idle_timeout, max_memory_mb } = file
    const made: ProjectPlan = {
      id,
      folder,
      command: command ?? config.command,
      // The common command's own paths are meant from where the orchestrator was started.
      cwd:
        cwd !== undefined ? yield* workingFolder(id, folder, cwd) : command === undefined ? path.resolve(".") : folder,
      env: { ...env, PROJECT_ID: id, DATA_DIR: folder, DATABASE_PATH: path.join(folder, "project.db") },
      idleTimeoutMs:
        idle_timeout === undefined ? config.idleTimeoutMs : (ProjectFile.idleMs(idle_timeout) ?? config.idleTimeoutMs),
      healthPath: health_path ?? config.healthPath,
      maxMemoryMb: max_memory_mb ?? null,
      warm: [command, cwd, env, health_path, max_memory_mb].every((field) => field === undefined)
    }
    return made
  })

  const turn = yield* Semaphore.make(1)
  const setIdleTimeout = Effect.fn("ProjectFolders.setIdleTimeout")(function* (
    id: ProjectId,
    idleTimeoutMs: number | null
  ) {
    yield* ensure(id)
    const { idle_timeout: _, ...rest } = yield* read(id)
    const value =
      idleTimeoutMs === null
        ? {}
        : { idle_timeout: idleTimeoutMs % 1000 === 0 ? idleTimeoutMs / 1000 : formatDuration(idleTimeoutMs) }
    const { kind, mode } = yield* SafeFile.look(fileOf(id)).pipe(
      Effect.mapError(({ detail }) => new NoPlan({ reason: "invalid", detail }))
    )
    if (kind === "missing" && idleTimeoutMs === null) return
    yield* SafeFile.replace(
      fileOf(id),
      `${JSON.stringify({ ...rest, ...value }, null, 2)}\n`,
      kind === "file" ? mode : 0o600
    ).pipe(Effect.mapError(({ detail }) => new NoPlan({ reason: "invalid", detail })))
  })

  return ProjectFolders.of({
    plan,
    serves,
    ofHost: (host) => index.of(host),
    setIdleTimeout: (id, idleTimeoutMs) => turn.withPermits(1)(setIdleTimeout(id, idleTimeoutMs)),
    all
  })
})

export class ProjectFolders extends Context.Service<
  ProjectFolders,
  {
    /** Reads `valet.json` anew each time. */
    plan(id: ProjectId): Effect.Effect<ProjectPlan, NoPlan>
    /** Would `plan` not be `forbidden`? Makes nothing. */
    serves(id: ProjectId): Effect.Effect<boolean>
    /** The project whose `valet.json` lists this host name (lower case, without port). */
    ofHost(host: string): Effect.Effect<ProjectId | undefined>
    /** Writes `idle_timeout` to the project's `valet.json`; null removes it. */
    setIdleTimeout(id: ProjectId, idleTimeoutMs: number | null): Effect.Effect<void, NoPlan>
    /** Ids of all projects that have a folder. */
    readonly all: Effect.Effect<ReadonlyArray<ProjectId>>
  }
>()("valet/ProjectFolders") {
  /** Fails where `--allow` is no pattern. */
  static readonly layer = Layer.effect(ProjectFolders, make)
}
