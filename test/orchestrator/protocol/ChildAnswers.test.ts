import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"
import { eventually } from "../../support/eventually.ts"
import { answersIn, header } from "../support/Answers.ts"
import { rawChild } from "../support/Child.ts"
import { hostOn, Subject } from "../support/Subject.ts"
import { suites } from "../support/Suite.ts"
import { dial, wire } from "../support/Wire.ts"

const suite = suites()

/** What a hostile or broken child would like another client, or this one's next request, to take for its answer. */
const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: yes\r\n\r\nPOISON"

const soundAnswer = (path: string) => {
  const body = `sound ${path}`
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

/** Answers `/evil` as the test says, and everything else soundly; connections are kept. */
const childSaying = (evil: string | ((socket: Socket) => void)) =>
  rawChild((socket) => {
    const { text } = wire(socket)
    let read = 0
    socket.on("data", () => {
      for (;;) {
        const rest = text().slice(read)
        const end = rest.indexOf("\r\n\r\n")
        if (end < 0) return
        read += end + 4
        const path = rest.split(" ")[1] ?? ""
        if (path !== "/evil") socket.write(soundAnswer(path))
        else if (typeof evil === "string") socket.write(evil, "latin1")
        else evil(socket)
      }
    })
  })

const request = (child: { readonly port: number }, path: string, method = "GET") =>
  `${method} ${path} HTTP/1.1\r\nHost: ${hostOn(child.port)}\r\n\r\n`

/** A peer that closes before it has read all resets the connection: then there is an error, and no end. */
const isOver = ({ destroyed, readableEnded }: Socket) => readableEnded || destroyed

/** With one whole answer at least, and no more of another than came along with it. */
const answered = (text: string) => text.includes("\r\n\r\n") && answersIn(text)[0]?.complete === true

/** Asks for `/evil`, with a request right behind it; then others ask the same child on connections of their own. */
const among = (child: { readonly port: number }, method = "GET") =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const client = yield* dial(port)
    client.send(request(child, "/evil", method))
    client.send(request(child, "/next"))
    const nextCame = (text: string) => text.includes("sound /next")
    yield* eventually(Effect.sync(() => nextCame(client.text()) || isOver(client.socket)))
    for (let i = 0; i < 5; i++) {
      const other = yield* dial(port)
      other.send(request(child, `/other${i}`))
      const text = yield* other.until(answered)
      assert.deepStrictEqual(
        answersIn(text).map(({ body, status }) => [status, body]),
        [[200, `sound /other${i}`]]
      )
    }
    return client.text()
  })

/** Answers that are none: the client gets one 502 in their stead. */
const nonsense: Readonly<Record<string, string>> = {
  "both Content-Length and Transfer-Encoding":
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "two Content-Lengths that differ": `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: ${poison.length}\r\n\r\n${poison}`,
  "two Content-Lengths that agree": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
  "a Content-Length of -1": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
  "a Content-Length of +3": "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
  "a Content-Length that overflows": "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
  "a status line without a version": "200 OK\r\nContent-Length: 0\r\n\r\n",
  "a status of two digits": "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
  "a status of letters": "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
  "a status of 099": "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
  "a status of 000": "HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
  "no HTTP at all": "220 mail.example ESMTP\r\n\r\n",
  TLS: "\x15\x03\x01\x00\x02\x02\x46",
  "a header without a colon": "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n",
  "a space before a colon": "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
  "a folded header": "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
  "a bare CR in a header": "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
  "a bare LF in a header": "HTTP/1.1 200 OK\r\nX-A: b\nSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
  "NUL in a header": "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
  "a head of 100 KB": `HTTP/1.1 200 OK\r\nX-A: ${"a".repeat(100_000)}\r\nContent-Length: 0\r\n\r\n`,
  "101 to a request for no upgrade": `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n${poison}`,
  "nothing, and the end": ""
}

suite("an answer of a child that is none", (it, rows) => {
  for (const [name, bytes] of rows(nonsense)) {
    it.effect(`${name}: 502, and its connection serves nobody else`, () =>
      Effect.gen(function* () {
        const child = yield* childSaying((socket) => {
          socket.write(bytes, "latin1")
          // Else it could still become an answer.
          if (bytes === "" || !bytes.includes("\r\n\r\n")) socket.end()
        })
        const text = yield* among(child)
        const answers = answersIn(text)
        assert.strictEqual(answers[0]?.status, 502)
        assert.notInclude(text, "POISON")
        assert.isTrue(answers.slice(1).every(({ body }) => body === "sound /next"))
      })
    )
  }
})

/** Sound answers with more behind them: the client gets the answer, and nobody the rest. */
const followed: Readonly<Record<string, { readonly bytes: string; readonly method?: string; readonly body: string }>> =
  {
    "a whole second answer": { bytes: `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${poison}`, body: "ok" },
    "bytes that are no answer": { bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokPOISON", body: "ok" },
    "a second answer behind a chunked one": {
      bytes: `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${poison}`,
      body: "ok"
    },
    "a body behind 204": { bytes: `HTTP/1.1 204 No Content\r\n\r\n${poison}`, body: "" },
    "a body of its length behind 204": {
      bytes: `HTTP/1.1 204 No Content\r\nContent-Length: ${poison.length}\r\n\r\n${poison}`,
      body: ""
    },
    "a body behind 304": { bytes: `HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n${poison}`, body: "" },
    "a body behind the answer to HEAD": {
      bytes: `HTTP/1.1 200 OK\r\nContent-Length: ${poison.length}\r\n\r\n${poison}`,
      method: "HEAD",
      body: ""
    }
  }

suite("more than an answer from a child", (it, rows) => {
  for (const [name, { body, bytes, method = "GET" }] of rows(followed)) {
    it.effect(`${name} reaches nobody`, () =>
      Effect.gen(function* () {
        const child = yield* childSaying(bytes)
        const text = yield* among(child, method)
        assert.notInclude(text, "POISON")
        const [first, ...more] = answersIn(text, [method])
        if (first?.status !== 502) assert.strictEqual(first?.body, body)
        assert.isTrue(more.every(({ body }) => body === "sound /next"))
      })
    )
  }

  it.effect("an answer that nobody asked for closes the connection that was kept, and is not the next request's", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const kept: Array<Socket> = []
      const child = yield* childSaying((socket) => {
        kept.push(socket)
        socket.write(soundAnswer("/evil"))
      })
      const client = yield* dial(port)
      for (let i = 0; i < 10; i++) {
        const before = client.text().length
        client.send(request(child, "/evil"))
        yield* client.until((text) => text.slice(before).includes("sound /evil"))
        const asked = kept.splice(0)
        for (const socket of asked) socket.write(poison)
        // Whoever sends it once a request is on its way can't be told from one who answers that.
        yield* eventually(Effect.sync(() => asked.every(isOver)))
        const at = client.text().length
        client.send(request(child, `/after${i}`))
        const text = yield* client.until((text) => answered(text.slice(at)))
        assert.deepStrictEqual(
          answersIn(text.slice(at)).map(({ body }) => body),
          [`sound /after${i}`]
        )
      }
    })
  )

  it.effect("half an answer that nobody asked for does the same", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const kept: Array<Socket> = []
      const child = yield* childSaying((socket) => {
        kept.push(socket)
        socket.write(soundAnswer("/evil"))
      })
      const client = yield* dial(port)
      client.send(request(child, "/evil"))
      yield* client.until((text) => text.includes("sound /evil"))
      kept[0]?.write("HTTP/1.1 200 OK\r\nX-Poison: yes\r\nX-Rest: ")
      yield* eventually(Effect.sync(() => kept[0] !== undefined && isOver(kept[0])))
      for (let i = 0; i < 5; i++) {
        const other = yield* dial(port)
        other.send(request(child, `/other${i}`))
        const text = yield* other.until(answered)
        assert.notInclude(text, "Poison")
        assert.strictEqual(answersIn(text)[0]?.body, `sound /other${i}`)
      }
    })
  )
})

suite("a body that a child ends badly", (it, rows) => {
  const bad: Readonly<Record<string, string>> = {
    "a chunk size that is none": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\nPOISON",
    "a chunk longer than its size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokPOISON\r\n0\r\n\r\n",
    "a chunk size that overflows":
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1ffffffffffffffff\r\nPOISON",
    "a trailer that is none": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-POISON\r\n\r\n"
  }
  for (const [name, bytes] of rows(bad)) {
    it.effect(`${name}: the client's answer is cut, and the connection with it`, () =>
      Effect.gen(function* () {
        const { port } = yield* Subject
        const child = yield* childSaying(bytes)
        const client = yield* dial(port)
        client.send(request(child, "/evil") + request(child, "/next"))
        const { text } = yield* client.over
        // Nothing may have been sent yet: then it can still be a 502.
        if (text !== "") {
          const answers = answersIn(text)
          assert.strictEqual(answers.length, 1)
          if (answers[0]?.status !== 502) assert.isFalse(answers[0]?.complete)
        }
        assert.notInclude(text, "POISON")
      })
    )
  }

  it.effect("trailers of a child can't say what belongs to the head", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* childSaying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Fine\r\n\r\n2\r\nok\r\n0\r\n" +
          "X-Fine: yes\r\nConnection: close\r\nHost: evil\r\n\r\n"
      )
      const client = yield* dial(port)
      client.send(request(child, "/evil") + request(child, "/next"))
      const text = yield* client.until((text) => text.includes("sound /next"))
      assert.deepStrictEqual(answersIn(text)[0]?.trailers, [["x-fine", "yes"]])
    })
  )

  it.effect("hop-by-hop headers of a child, and those that its Connection names, stay on its connection", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* childSaying(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, Content-Length, close\r\nX-Hop: evil\r\nKeep-Alive: timeout=1\r\n" +
          "Proxy-Connection: close\r\nUpgrade: h2c\r\nTE: evil\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok"
      )
      const client = yield* dial(port)
      client.send(request(child, "/evil") + request(child, "/next"))
      const text = yield* client.until((text) => text.includes("sound /next"))
      const [answer] = answersIn(text)
      assert.strictEqual(answer?.body, "ok")
      if (answer === undefined) return
      assert.strictEqual(header(answer, "x-kept"), "yes")
      for (const name of ["x-hop", "proxy-connection", "upgrade", "te"]) assert.isUndefined(header(answer, name))
      assert.notStrictEqual(header(answer, "keep-alive"), "timeout=1")
    })
  )

  it.effect("interim answers without end end with the answer's time, and never reach a client as its answer", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* childSaying((socket) => {
        socket.write("HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000))
        socket.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(10))
        socket.write(soundAnswer("/evil"))
      })
      const client = yield* dial(port)
      client.send(request(child, "/evil"))
      const text = yield* client.until((text) => text.includes("sound /evil"))
      const final = answersIn(text).filter(({ status }) => status >= 200)
      assert.deepStrictEqual(
        final.map(({ body }) => body),
        ["sound /evil"]
      )
      // Nobody asked for a 100.
      assert.isTrue(answersIn(text).every(({ status }) => status !== 100))
    })
  )
})
