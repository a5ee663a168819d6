import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { eventually } from "../../support/eventually.ts"
import { answersIn } from "../support/Answers.ts"
import { attack, get, hidden, post, type Names } from "../support/Attack.ts"
import { Subject } from "../support/Subject.ts"
import { suites } from "../support/Suite.ts"
import { dial } from "../support/Wire.ts"

const suite = suites()

/** Heads that two servers would read in two ways. */
const heads: Readonly<Record<string, (names: Names) => string>> = {
  "Content-Length and Transfer-Encoding": (names) =>
    post(names, "Content-Length: 4\r\nTransfer-Encoding: chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding and Content-Length": (names) =>
    post(
      names,
      `Transfer-Encoding: chunked\r\nContent-Length: ${hidden(names).length + 5}`,
      `0\r\n\r\n${hidden(names)}`
    ),
  "two Content-Lengths that differ": (names) =>
    post(names, `Content-Length: 0\r\nContent-Length: ${hidden(names).length}`, hidden(names)),
  "two Content-Lengths that agree": (names) =>
    post(names, "Content-Length: 3\r\nContent-Length: 3", `abc${hidden(names)}`),
  "a list of Content-Lengths": (names) => post(names, "Content-Length: 3, 3", `abc${hidden(names)}`),
  "Transfer-Encoding: chunked, identity": (names) =>
    post(names, "Transfer-Encoding: chunked, identity", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding: identity": (names) => post(names, "Transfer-Encoding: identity", hidden(names)),
  "Transfer-Encoding: gzip, chunked": (names) =>
    post(names, "Transfer-Encoding: gzip, chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding: xchunked": (names) => post(names, "Transfer-Encoding: xchunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding: chunkedx": (names) => post(names, "Transfer-Encoding: chunkedx", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding: chunked twice": (names) =>
    post(names, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding: chunked, chunked": (names) =>
    post(names, "Transfer-Encoding: chunked, chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding: chunked and then identity": (names) =>
    post(names, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", `0\r\n\r\n${hidden(names)}`),
  "a quoted chunked": (names) => post(names, 'Transfer-Encoding: "chunked"', `0\r\n\r\n${hidden(names)}`),
  "an empty Transfer-Encoding": (names) => post(names, "Transfer-Encoding:", hidden(names)),
  "an empty Content-Length": (names) => post(names, "Content-Length:", hidden(names)),
  "Transfer-Encoding with a space before its colon": (names) =>
    post(names, "Transfer-Encoding : chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding with a tab before its colon": (names) =>
    post(names, "Transfer-Encoding\t: chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding with a vertical tab": (names) =>
    post(names, "Transfer-Encoding:\x0bchunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding with a form feed": (names) =>
    post(names, "Transfer-Encoding: \x0cchunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding with a tab behind it": (names) =>
    post(names, "Transfer-Encoding: chunked\t", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding behind a space": (names) =>
    post(names, " Transfer-Encoding: chunked", `0\r\n\r\n${hidden(names)}`),
  "Transfer-Encoding on a folded line": (names) =>
    post(names, "X-Folded: a\r\n Transfer-Encoding: chunked", `0\r\n\r\n${hidden(names)}`),
  "a Transfer-Encoding whose value is folded": (names) =>
    post(names, "Transfer-Encoding:\r\n chunked", `0\r\n\r\n${hidden(names)}`),
  "a folded header": (names) => get(names, "X-Folded: a\r\n\tb"),
  "Transfer-Encoding of HTTP/1.0": ({ host }) =>
    `POST / HTTP/1.0\r\nHost: ${host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "a Content-Length of +5": (names) => post(names, "Content-Length: +5", `abcde${hidden(names)}`),
  "a Content-Length of -5": (names) => post(names, "Content-Length: -5", `abcde${hidden(names)}`),
  "a Content-Length of 0x5": (names) => post(names, "Content-Length: 0x5", `abcde${hidden(names)}`),
  "a Content-Length of 5 5": (names) => post(names, "Content-Length: 5 5", `abcde${hidden(names)}`),
  "a Content-Length of 5.0": (names) => post(names, "Content-Length: 5.0", `abcde${hidden(names)}`),
  "a Content-Length that overflows 64 bits": (names) =>
    post(names, "Content-Length: 18446744073709551621", `abcde${hidden(names)}`),
  "Content-Length with a space before its colon": (names) => post(names, "Content-Length : 5", `abcde${hidden(names)}`),
  "a bare LF behind the request line": ({ host }) => `GET / HTTP/1.1\nHost: ${host}\r\n\r\n`,
  "a bare LF behind a header": ({ host }) => `GET / HTTP/1.1\r\nHost: ${host}\nX-A: b\r\n\r\n`,
  "a bare LF for the empty line": ({ host }) => `GET / HTTP/1.1\r\nHost: ${host}\r\n\n`,
  "bare LFs only": ({ host }) => `GET / HTTP/1.1\nHost: ${host}\n\n`,
  "a bare LF within a header": (names) => get(names, "X-A: b\nTransfer-Encoding: chunked"),
  "a bare CR behind the request line": ({ host }) => `GET / HTTP/1.1\rHost: ${host}\r\n\r\n`,
  "a bare CR within a header": (names) => get(names, "X-A: b\rTransfer-Encoding: chunked"),
  "a bare CR before a colon": (names) => get(names, "X-A\r: b"),
  "two CRs before an LF": ({ host }) => `GET / HTTP/1.1\r\r\nHost: ${host}\r\n\r\n`,
  "NUL in a header": (names) => get(names, "X-A: b\0c"),
  "NUL in a header's name": (names) => get(names, "X\0A: b"),
  "NUL in the target": ({ host }) => `GET /\0 HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "DEL in a header": (names) => get(names, "X-A: b\x7fc"),
  "a space in a header's name": (names) => get(names, "X A: b"),
  "a header without a name": (names) => get(names, ": b"),
  "a header without a colon": (names) => get(names, "X-A"),
  "two Hosts that differ": (names) => get(names, "Host: other.localhost"),
  "two Hosts that agree": (names) => get(names, `Host: ${names.host}`),
  "HTTP/1.1 without a Host": ({ path }) => `GET ${path}/ HTTP/1.1\r\n\r\n`,
  "HTTP/1.1 with an empty Host and another one": ({ host, path }) =>
    `GET ${path}/ HTTP/1.1\r\nHost:\r\nHost: ${host}\r\n\r\n`,
  "HTTP/0.9": ({ path }) => `GET ${path}/\r\n\r\n`,
  "HTTP/0.9 by name": ({ host }) => `GET / HTTP/0.9\r\nHost: ${host}\r\n\r\n`,
  "HTTP/2.0 by name": ({ host }) => `GET / HTTP/2.0\r\nHost: ${host}\r\n\r\n`,
  "HTTP/1.10": ({ host }) => `GET / HTTP/1.10\r\nHost: ${host}\r\n\r\n`,
  "the preface of HTTP/2": () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "a space in the target": ({ host }) => `GET /a b HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "a target without a slash": ({ host }) => `GET smuggled HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "an unknown method in lower case": ({ host }) => `get / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "a TLS hello": () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
}

/** Well formed, but for nobody here; the next request on the connection is told apart from each. */
const misaddressed: Readonly<Record<string, (names: Names) => string>> = {
  "a Host with a path": ({ path }) => `GET ${path}/ HTTP/1.1\r\nHost: localhost/x\r\n\r\n`,
  "a Host with a user": ({ host }) => `GET / HTTP/1.1\r\nHost: other@${host}\r\n\r\n`,
  "a Host with a space": ({ host }) => `GET / HTTP/1.1\r\nHost: other ${host}\r\n\r\n`,
  "a list of Hosts": ({ host }) => `GET / HTTP/1.1\r\nHost: other.localhost, ${host}\r\n\r\n`,
  "an absolute target of another host": ({ host, path }) =>
    `GET http://other.example${path}/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "HTTP/0.9 with nothing behind it": ({ host }) => `GET / HTTP/0.9\r\nHost: ${host}\r\n\r\n`,
  "HTTP/2.0 with nothing behind it": ({ host }) => `GET / HTTP/2.0\r\nHost: ${host}\r\n\r\n`,
  "the asterisk": ({ host }) => `OPTIONS * HTTP/1.1\r\nHost: ${host}\r\n\r\n`
}

/** Sound heads with bodies that two servers would end at two places. */
const bodies: Readonly<Record<string, (names: Names) => string>> = {
  "a chunk size with a plus": (names) => `+5\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk size with a minus": (names) => `-1\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk size with 0x": (names) => `0x5\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk size behind a space": (names) => ` 5\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk size that overflows 64 bits": (names) => `10000000000000005\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk size of 4 GiB too much": (names) => `fffffffffffffffff\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk size that is none": (names) => `xyz\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "no chunk size": (names) => `\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a bare LF behind a chunk size": (names) => `5\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a bare LF behind a chunk": (names) => `5\r\nabcde\n0\r\n\r\n${hidden(names)}`,
  "a bare CR behind a chunk size": (names) => `5\rabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a bare LF in a chunk's extension": (names) => `5;a\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a bare CR in a chunk's extension": (names) => `5;a\rb\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "NUL in a chunk's extension": (names) => `5;a=\0\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk's extension of 100 KB": (names) => `5;${"a".repeat(100_000)}\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a chunk that is longer than its size": (names) => `3\r\nabcde\r\n0\r\n\r\n${hidden(names)}`,
  "a last chunk that ends in a bare LF": (names) => `5\r\nabcde\r\n0\n\n${hidden(names)}`,
  "a trailer without a colon": (names) => `5\r\nabcde\r\n0\r\nX-A\r\n\r\n${hidden(names)}`,
  "a trailer with a bare LF": (names) => `5\r\nabcde\r\n0\r\nX-A: b\nX-C: d\r\n\r\n${hidden(names)}`,
  "a trailer that is folded": (names) => `5\r\nabcde\r\n0\r\nX-A: b\r\n c\r\n\r\n${hidden(names)}`,
  "a trailer with a Content-Length": (names) => `5\r\nabcde\r\n0\r\nContent-Length: 7\r\n\r\n${hidden(names)}`,
  "a trailer with a Transfer-Encoding": (names) =>
    `5\r\nabcde\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n${hidden(names)}`,
  "trailers of 100 KB": (names) => `5\r\nabcde\r\n0\r\nX-A: ${"a".repeat(100_000)}\r\n\r\n${hidden(names)}`
}

suite("a head that can be read in two ways gets 400, ends its connection and reaches nobody", (it, rows) => {
  for (const [name, bytes] of rows(heads)) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const { child, client } = yield* attack((names) => bytes(names) + hidden(names))
        const { text } = yield* client.over
        assert.deepStrictEqual(
          answersIn(text).map(({ status }) => status),
          [400]
        )
        assert.strictEqual(child.bytes(), "")
      })
    )
  }

  it.effect("each of them sent byte by byte reaches nobody either", () =>
    Effect.forEach(
      rows(heads),
      ([, bytes]) =>
        Effect.gen(function* () {
          const { child, client, names } = yield* attack(() => "")
          for (const byte of bytes(names) + hidden(names)) client.send(byte)
          const { text } = yield* client.over
          // A client that goes on sending may lose the answer to the end of the connection.
          assert.isTrue(answersIn(text).every(({ status }) => status === 400))
          assert.strictEqual(child.bytes(), "")
        }),
      { concurrency: 8 }
    )
  )
})

suite("a request for nobody here gets 400 and reaches nobody", (it, rows) => {
  it.effect("CONNECT opens nothing, and ends its connection", () =>
    Effect.gen(function* () {
      const { child, client } = yield* attack(
        (names) => `CONNECT ${names.host}:80 HTTP/1.1\r\nHost: ${names.host}:80\r\n\r\n${hidden(names)}`
      )
      const { text } = yield* client.over
      assert.deepStrictEqual(
        answersIn(text).map(({ status }) => status),
        [400]
      )
      assert.strictEqual(child.bytes(), "")
    })
  )

  for (const [name, bytes] of rows(misaddressed)) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const { child, client } = yield* attack(bytes)
        const text = yield* client.until((text) => text.includes("\r\n\r\n"))
        assert.strictEqual(answersIn(text)[0]?.status, 400)
        assert.strictEqual(child.bytes(), "")
      })
    )
  }
})

suite("a chunked body that can be read in two ways is never whole for the child", (it, rows) => {
  for (const [name, bytes] of rows(bodies)) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const { child, client, names } = yield* attack((names) =>
          post(names, "Transfer-Encoding: chunked", bytes(names))
        )
        const { text } = yield* client.over
        assert.isTrue(answersIn(text).every(({ status }) => status === 400 || status === 413 || status === 431))
        // What had begun there is cut.
        yield* eventually(Effect.sync(() => child.sockets.size === 0))
        assert.deepStrictEqual(child.seen, [])
        assert.notInclude(child.bytes(), "smuggled")
        assert.notMatch(child.bytes(), /\r\n0\r\n/)

        const { port } = yield* Subject
        const other = yield* dial(port)
        other.send(get(names, "X-Other: 1"))
        assert.include(yield* other.until((text) => text.includes("seen")), "seen 1")
      })
    )
  }
})
