/** How this program starts parts of itself as processes of their own: from the bundle, which starts several times faster. */
import * as Effect from "effect/Effect"
import { ensureBundle } from "../local/Bundle.ts"

export const ownCommands = Effect.map(ensureBundle, ({ valet, projectServer }) => ({
  serve: [process.execPath, valet, "serve"] as const,
  dev: [process.execPath, valet, "dev"] as const,
  projectServer: [process.execPath, projectServer] as const
}))
