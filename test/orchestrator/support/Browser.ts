/** Headless Chromium from the npm registry, in a temporary folder of its own. It fails where it can't start. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { execFile } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { chromium, type Browser as Playwright, type BrowserContext } from "playwright-core"
import type * as Scope from "effect/Scope"

/** Where it unpacks itself is decided by the TMPDIR of the process that asks; prints the path of the program. */
const unpack = `import chromium from "@sparticuz/chromium"; process.stdout.write(await chromium.executablePath())`

const temporaryFolder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(path.join(tmpdir(), "valet-chromium-"))),
  (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }))
)

const executable = (folder: string): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const args = ["--input-type=module", "--eval", unpack]
    const child = execFile(process.execPath, args, { env: { TMPDIR: folder } }, (error, stdout) =>
      resume(error === null ? Effect.succeed(stdout) : Effect.die(error))
    )
    return Effect.sync(() => child.kill())
  })

export class Browser extends Context.Service<
  Browser,
  {
    /** Without cookies or cache of another one. */
    readonly context: Effect.Effect<BrowserContext, never, Scope.Scope>
  }
>()("valet/test/Browser") {
  static readonly layer: Layer.Layer<Browser> = Layer.effect(
    Browser,
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const program = yield* executable(folder)
      const browser: Playwright = yield* Effect.acquireRelease(
        Effect.promise(() =>
          chromium.launch({
            executablePath: program,
            args: ["--no-sandbox", "--headless=shell"],
            env: { TMPDIR: folder, HOME: folder },
            artifactsDir: folder
          })
        ),
        (browser) => Effect.promise(() => browser.close())
      )
      return Browser.of({
        context: Effect.acquireRelease(
          Effect.promise(() => browser.newContext()),
          (context) => Effect.promise(() => context.close())
        )
      })
    })
  )
}
