/** Metadata is part of the configuration, but changes without a new version, a restart or a lease. */
import * as Result from "effect/Result"
import type { Op } from "./Draft.ts"
import { putMachine } from "./Draft.ts"
import { findMachine } from "./Find.ts"
import { precondition, refuse } from "./Refusal.ts"

type Metadata = Readonly<Record<string, string>>

export const getMetadata =
  (app: string, id: string): Op<Metadata> =>
  (draft) =>
    Result.map(findMachine(draft, app, id), (machine) => machine.config.metadata ?? {})

export const getMetadataKey =
  (app: string, id: string, key: string): Op<string> =>
  (draft) =>
    Result.flatMap(getMetadata(app, id)(draft), (metadata) => {
      const value = metadata[key]
      return value === undefined ? refuse(404, "metadata key not found") : Result.succeed(value)
    })

export interface MetadataChange {
  readonly set: Metadata
  readonly remove?: ReadonlyArray<string>
  /** Only if the machine still has this version (`instance_id`). */
  readonly machineVersion?: string
}

export const changeMetadata =
  (app: string, id: string, change: MetadataChange): Op<void> =>
  (draft) =>
    Result.flatMap(findMachine(draft, app, id), (machine) => {
      if (change.machineVersion !== undefined && change.machineVersion !== machine.instanceId) {
        return precondition(
          `machine_version ${change.machineVersion} does not match current version ${machine.instanceId}`
        )
      }
      const metadata = Object.fromEntries(
        Object.entries({ ...machine.config.metadata, ...change.set }).filter(
          ([key]) => change.remove?.includes(key) !== true
        )
      )
      putMachine(draft, { ...machine, updatedAt: draft.now, config: { ...machine.config, metadata } })
      return Result.succeed(undefined)
    })
