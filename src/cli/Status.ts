/** `valet status`: how the control plane fares. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import type { Status } from "../contract/Status.ts"
import { connection } from "./Flags.ts"
import { fields, print, table } from "./Output.ts"

const text = ({ projects, pool, bin, machines, archival, running, loops }: Status): string =>
  [
    fields({
      projects: `${projects.active} active, ${projects.suspended} suspended, ${projects.dormant} dormant`,
      "data unavailable": projects.data_unavailable,
      pool:
        Object.entries(pool.regions)
          .map(([region, { ready, provisioning }]) => `${region} ${ready}/${pool.target} (+${provisioning})`)
          .join(", ") || "-",
      machines: `${machines.used} of ${machines.max}`,
      "waiting for deletion": `${bin.discarded} (${bin.failing} failing), kept for their data: ${bin.kept}`,
      archival
    }),
    table(
      ["LOOP", "RUNS", "FAILURES", "LAST RUN", "NEXT RUN", "LAST ERROR"],
      loops.map((loop) => [loop.name, loop.runs, loop.failures, loop.last_run_at, loop.next_run_at, loop.last_error])
    ),
    ...(running.length === 0
      ? []
      : [
          table(
            ["PROJECT", "OPERATION", "GENERATION", "LEASE UNTIL"],
            running.map((row) => [row.project_id, row.operation, row.generation, row.lease_until])
          )
        ])
  ].join("\n\n")

export const statusCommand = Command.make(
  "status",
  connection,
  Effect.fnUntraced(function* ({ json, ...to }) {
    const { call } = yield* Effect.promise(() => import("./PlaneApi.ts"))
    const status = yield* call(to, (client) => client.operator.status())
    yield* print(json, status, () => text(status))
  })
).pipe(Command.withDescription("State of the control plane: projects, pool, operations, background loops"))
