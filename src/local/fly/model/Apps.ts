/** Apps and their addresses. */
import * as Result from "effect/Result"
import type { Op } from "./Draft.ts"
import { appId, putVolume, random, word } from "./Draft.ts"
import { findApp } from "./Find.ts"
import type { App, AppIp } from "./FlyState.ts"
import { invalid, precondition, refuse } from "./Refusal.ts"
import { beginDestroy } from "./Transitions.ts"
import { softDeleted } from "./Volumes.ts"

export interface CreateAppInput {
  readonly name: string
  readonly org: string
  readonly network?: string
}

export const createApp =
  (input: CreateAppInput): Op<App> =>
  (draft) => {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(input.name))
      return invalid("name may only contain letters, numbers and dashes")
    if (draft.state.apps[input.name] !== undefined) {
      return refuse(422, "Validation failed: Name has already been taken", { code: "name_taken" })
    }
    const app: App = {
      name: input.name,
      id: appId(draft),
      number: 1_000_000 + Math.floor(random(draft) * 8_999_999),
      org: input.org,
      network: input.network ?? "default",
      createdAt: draft.now,
      ips: []
    }
    draft.state = { ...draft.state, apps: { ...draft.state.apps, [app.name]: app } }
    return Result.succeed(app)
  }

export const getApp =
  (name: string): Op<App> =>
  (draft) =>
    findApp(draft, name)

export const listApps =
  (org: string): Op<ReadonlyArray<App>> =>
  (draft) =>
    Result.succeed(Object.values(draft.state.apps).filter((app) => app.org === org))

/** Takes its machines and volumes along. Without force only if no machine runs. */
export const deleteApp =
  (name: string, force: boolean): Op<void> =>
  (draft) =>
    Result.flatMap(findApp(draft, name), (app) => {
      const machines = Object.values(draft.state.machines).filter((it) => it.app === name && it.state !== "destroyed")
      const running = machines.filter((it) => it.state !== "stopped" && it.state !== "suspended")
      if (!force && running.length > 0) return precondition(`app has ${running.length} running machines`)
      for (const machine of machines) if (machine.state !== "destroying") beginDestroy(draft, machine, "user")
      for (const volume of Object.values(draft.state.volumes)) {
        if (volume.app === name && volume.state !== "pending_destroy") putVolume(draft, softDeleted(draft, volume))
      }
      const { [app.name]: _, ...apps } = draft.state.apps
      draft.state = { ...draft.state, apps }
      return Result.succeed(undefined)
    })

const withIps =
  (name: string, change: (ips: ReadonlyArray<AppIp>) => ReadonlyArray<AppIp>): Op<App> =>
  (draft) =>
    Result.map(findApp(draft, name), (app) => {
      const changed = { ...app, ips: change(app.ips) }
      draft.state = { ...draft.state, apps: { ...draft.state.apps, [name]: changed } }
      return changed
    })

export const assignIp =
  (name: string, input: { readonly type: string; readonly region: string }): Op<AppIp> =>
  (draft) => {
    const shared = input.type === "shared_v4"
    const v6 = input.type.endsWith("v6")
    const octet = () => Math.floor(random(draft) * 254) + 1
    const ip: AppIp = {
      ip: v6
        ? `fdaa:0:${word(draft)
            .replace(/[^0-9a-f]/g, "0")
            .slice(0, 4)}:0:1::${octet()}`
        : `192.0.2.${octet()}`,
      region: input.region,
      shared,
      createdAt: draft.now
    }
    return Result.map(withIps(name, (ips) => [...ips, ip])(draft), () => ip)
  }

export const releaseIp =
  (name: string, ip: string): Op<void> =>
  (draft) =>
    Result.flatMap(findApp(draft, name), (app) =>
      app.ips.some((it) => it.ip === ip)
        ? Result.map(withIps(name, (ips) => ips.filter((it) => it.ip !== ip))(draft), () => undefined)
        : refuse(404, "ip address not found")
    )
