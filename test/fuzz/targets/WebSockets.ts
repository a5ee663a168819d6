/** WebSockets of the reference server: bytes that are hardly frames, and documents' requests in frames. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { ErrorAnswer } from "../../../src/contract/Documents.ts"
import { encode, opcodes } from "../../orchestrator/support/Frames.ts"
import {
  configOf,
  deployKey,
  secret,
  type Server,
  startConfigured,
  temporaryFolder
} from "../../project-server/harness.ts"
import { framesOf, type Received, talk } from "../Channel.ts"
import { target } from "../FuzzTarget.ts"
import { frameBytes } from "../generate/Frames.ts"
import { excerpt, Violation } from "../Violation.ts"
import { message } from "./Parsers.ts"

const started = Effect.flatMap(temporaryFolder, (folder) => startConfigured(configOf(folder)))
const secrets = () => [secret, deployKey]

const text = (message: string): Buffer =>
  encode({ fin: true, opcode: opcodes.text, payload: Buffer.from(message) }, true)
const ping = encode({ fin: true, opcode: opcodes.ping, payload: Buffer.from("the end of this input") }, true)
const isPong = ({ opcode, payload }: Received) =>
  opcode === opcodes.pong && payload.toString() === "the end of this input"

const fails = (detail: string) => Effect.fail(new Violation({ detail }))

const probe = (server: Server) =>
  Effect.gen(function* () {
    const put = `{"id":"p","op":"put","key":"probe","value":1}`
    const isAnswer = ({ payload }: Received) => payload.toString().startsWith(`{"id":"p","ok":true,"version":`)
    const bytes = yield* talk(server.port, [text(put)], (frames) => frames.some(isAnswer))
    if (framesOf(bytes)?.some(isAnswer) !== true) return yield* fails("a put was not answered")
    if (server.gate.connections() > 100) return yield* fails(`${server.gate.connections()} connections are left`)
  })

/** What may be sent at all (RFC 6455 section 7.4): the client's own code is said back to it. */
const maySay = (code: number) =>
  (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code < 5000)

const isError = Schema.is(ErrorAnswer)

const record = (payload: Buffer): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(payload.toString())
    return typeof value === "object" && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** Answers are JSON with `ok`, errors one that may be; `internal` is no answer to input. */
const messageProblem = (payload: Buffer): string | undefined => {
  const answer = record(payload)
  if (answer === undefined) return `no JSON: ${excerpt(payload.toString())}`
  if ("event" in answer || answer["ok"] === true) return undefined
  if (!isError(answer)) return `no answer: ${excerpt(payload.toString())}`
  return answer.error.code === "internal" || answer.error.code === "sealed" ? excerpt(payload.toString()) : undefined
}

const problemOf = (frames: ReadonlyArray<Received>): string | undefined => {
  for (const { opcode, payload } of frames) {
    const said = payload.toString("latin1")
    if (secrets().some((secret) => said.includes(secret))) return "a secret"
    if (opcode === opcodes.text) {
      const problem = messageProblem(payload)
      if (problem !== undefined) return problem
    } else if (opcode === opcodes.close) {
      const code = payload.length === 0 ? 1000 : payload.readUInt16BE(0)
      if (!maySay(code)) return `closed with ${code}`
    } else if (opcode !== opcodes.pong && opcode !== opcodes.ping) return `a frame of type ${opcode}`
  }
  return undefined
}

export const webSocketFrames = target({
  name: "ws-frames",
  about: "bytes on a WebSocket of the reference server",
  share: 6,
  quick: 100,
  arbitrary: fc.array(frameBytes(message), { minLength: 1, maxLength: 6 }),
  weight: (frames) => frames.length,
  averageWeight: 2.5,
  open: Effect.map(started, (server) => ({
    check: (writes: ReadonlyArray<Buffer>) =>
      Effect.gen(function* () {
        const frames = framesOf(yield* talk(server.port, [...writes, ping], undefined))
        const problem = frames === undefined ? "no frames of a server" : problemOf(frames)
        if (problem !== undefined) return yield* fails(problem)
      }),
    probe: probe(server),
    secrets
  }))
})

/** Whole, or in pieces with a ping between them. */
const inFrames = (message: string, pieces: number): Buffer => {
  const bytes = Buffer.from(message)
  const size = Math.max(1, Math.ceil(bytes.length / pieces))
  const parts: Array<Buffer> = []
  for (let at = 0; at < bytes.length || at === 0; at += size) {
    const fin = at + size >= bytes.length
    const opcode = at === 0 ? opcodes.text : opcodes.continuation
    parts.push(encode({ fin, opcode, payload: bytes.subarray(at, at + size) }, true))
    if (!fin) parts.push(encode({ fin: true, opcode: opcodes.ping, payload: Buffer.alloc(0) }, true))
  }
  return Buffer.concat(parts)
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const idOf = (text: string): unknown => {
  const value = parsed(text)
  const id: unknown = typeof value === "object" && value !== null && "id" in value ? value.id : null
  return (typeof id === "string" && id.isWellFormed()) || (typeof id === "number" && Number.isFinite(id)) ? id : null
}

/** One answer a request, in order, each with its request's id; what was written is what is read. */
const answersProblem = (sent: ReadonlyArray<string>, answers: ReadonlyArray<Buffer>): string | undefined => {
  const known = new Map<string, string | null>()
  for (const [index, request] of sent.entries()) {
    const payload = answers[index]
    const answer = payload === undefined ? undefined : record(payload)
    if (answer === undefined) return `no answer to ${excerpt(request)}`
    if (JSON.stringify(answer["id"]) !== JSON.stringify(idOf(request))) {
      return `the id ${JSON.stringify(answer["id"])} in the answer to ${excerpt(request)}`
    }
    const asked = parsed(request)
    if (answer["ok"] !== true || typeof asked !== "object" || asked === null || !("op" in asked && "key" in asked))
      continue
    const key = String(asked.key)
    if (asked.op === "put" && "value" in asked) known.set(key, JSON.stringify(asked.value))
    else if (asked.op === "delete") known.set(key, null)
    else if (asked.op === "get" && known.has(key)) {
      const expected = known.get(key) ?? "null"
      const got = JSON.stringify(answer["value"])
      if (got !== expected) return `${excerpt(got)} in place of ${excerpt(expected)}`
    }
  }
  return answers.length > sent.length ? `${answers.length} answers to ${sent.length} requests` : undefined
}

const isEvent = (payload: Buffer): boolean => payload.toString("latin1", 0, 9) === `{"event":`

export const webSocketMessages = target({
  name: "ws-messages",
  about: "documents' requests in frames, pipelined, in pieces",
  share: 10,
  quick: 150,
  arbitrary: fc.record({
    messages: fc.array(message, { minLength: 1, maxLength: 8 }),
    pieces: fc.integer({ min: 1, max: 3 })
  }),
  weight: ({ messages }) => messages.length,
  averageWeight: 3.5,
  open: Effect.map(started, (server) => ({
    check: ({ messages, pieces }: { readonly messages: ReadonlyArray<string>; readonly pieces: number }) =>
      Effect.gen(function* () {
        // As they are on the wire: half a surrogate becomes a replacement character.
        const sent = messages.map((message) => message.toWellFormed())
        const writes = sent.map((message) => inFrames(message, pieces))
        const texts = (frames: ReadonlyArray<Received>) =>
          frames
            .filter(({ opcode, payload }) => opcode === opcodes.text && !isEvent(payload))
            .map(({ payload }) => payload)
        const over = (frames: ReadonlyArray<Received>) =>
          (frames.some(isPong) && texts(frames).length >= sent.length) ||
          frames.some(({ opcode }) => opcode === opcodes.close)
        const frames = framesOf(yield* talk(server.port, [...writes, ping], over)) ?? []
        const problem = problemOf(frames) ?? answersProblem(sent, texts(frames))
        if (problem !== undefined) return yield* fails(problem)
      }),
    probe: probe(server),
    secrets
  }))
})
