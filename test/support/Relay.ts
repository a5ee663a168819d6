/** A TCP relay in front of a server, whose connections a test silences or cuts. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net"
import * as Effect from "effect/Effect"

export interface Relay {
  readonly port: number
  /** Answers of the connections that are open now, and of no later ones, are swallowed from here on. */
  readonly swallowAnswers: Effect.Effect<void>
  /** Ends the connections that are open now. */
  readonly cut: Effect.Effect<void>
  /** How many connections were accepted so far. */
  readonly accepted: Effect.Effect<number>
}

export const relay = (target: { readonly host: string; readonly port: number }) =>
  Effect.acquireRelease(
    Effect.callback<Relay & { readonly close: Effect.Effect<void> }>((resume) => {
      const pairs = new Set<{ readonly client: Socket; readonly server: Socket; silent: boolean }>()
      let accepted = 0
      const listener = createServer((client) => {
        accepted += 1
        const server = connect(target)
        const pair = { client, server, silent: false }
        pairs.add(pair)
        const end = () => {
          pairs.delete(pair)
          client.destroy()
          server.destroy()
        }
        client.on("error", end).on("close", end)
        server.on("error", end).on("close", end)
        client.on("data", (bytes) => server.write(bytes))
        server.on("data", (bytes) => (pair.silent ? undefined : client.write(bytes)))
      })
      const cut = Effect.sync(() => {
        for (const { client, server } of pairs) {
          client.destroy()
          server.destroy()
        }
      })
      listener.listen(0, "127.0.0.1", () => {
        const { port } = listener.address() as AddressInfo
        resume(
          Effect.succeed({
            port,
            swallowAnswers: Effect.sync(() => {
              for (const pair of pairs) pair.silent = true
            }),
            cut,
            accepted: Effect.sync(() => accepted),
            close: Effect.andThen(
              cut,
              Effect.callback<void>((done) => void listener.close(() => done(Effect.void)))
            )
          })
        )
      })
    }),
    ({ close }) => close
  )
