/** Performs tasks that come as requests, one process for all rounds; tells its port in a line of JSON. */
import { createServer } from "node:http"
import { text } from "node:stream/consumers"
import * as Schema from "effect/Schema"
import { Task, type Wake } from "./Task.ts"

const decode = Schema.decodeSync(Schema.fromJsonString(Task))

export const serve = (perform: (task: Task) => Promise<ReadonlyArray<Wake>>): void => {
  const server = createServer((request, response) => {
    text(request)
      .then((body) => perform(decode(body)))
      .then((wakes) => response.end(JSON.stringify(wakes)))
      .catch((error: unknown) => {
        console.error(error)
        response.destroy()
      })
  })
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    console.log(JSON.stringify({ port: typeof address === "object" && address !== null ? address.port : 0 }))
  })
}
