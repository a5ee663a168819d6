/** Which machine answers whose request. */
import type { Mutant } from "./Mutant.ts"

export const routing: ReadonlyArray<Mutant> = [
  {
    name: "route-cache-never-invalidated",
    invariant: "I5",
    focus: { flyErrorBefore: 0.3, ownerMinutes: 30 },
    patches: [
      {
        file: "src/http/router/RouteCache.ts",
        find: `      if (change._tag === "Changed") return drop(change.projectId)\n`,
        replace: `      if (change._tag === "Changed") return\n`
      }
    ]
  },
  {
    name: "stale-route-answered-by-a-foreign-machine",
    invariant: "I5",
    patches: [
      {
        file: "src/testing/machine/FakeMachines.ts",
        find: "    if (volume.project?.id !== projectId || !volume.ready || volume.sealedBy !== null) {",
        replace: "    if (volume.project === null || !volume.ready || volume.sealedBy !== null) {"
      }
    ]
  }
]
