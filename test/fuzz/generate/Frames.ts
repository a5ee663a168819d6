/** WebSocket frames as bytes: valid ones, and every field of one that can be wrong. */
import * as fc from "fast-check"
import { encode, opcodes } from "../../orchestrator/support/Frames.ts"
import { hostile } from "./Text.ts"

const invalidUtf8 = fc.constantFrom(
  Buffer.from([0xff]),
  Buffer.from([0xc0, 0xaf]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([0xf4, 0x90, 0x80, 0x80]),
  Buffer.from([0xe2, 0x82])
)

const closeCodes = fc.constantFrom(
  0,
  999,
  1000,
  1001,
  1004,
  1005,
  1006,
  1007,
  1011,
  1012,
  1015,
  2999,
  3000,
  4999,
  5000,
  65_535
)

const closing = fc
  .tuple(
    closeCodes,
    fc.oneof(
      hostile.map((text) => Buffer.from(text)),
      invalidUtf8
    )
  )
  .map(([code, reason]) => {
    const head = Buffer.alloc(2)
    head.writeUInt16BE(code)
    return Buffer.concat([head, reason])
  })

const payload = (messages: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
  fc.oneof(
    { weight: 6, arbitrary: messages.map((text) => Buffer.from(text)) },
    { weight: 1, arbitrary: invalidUtf8 },
    { weight: 1, arbitrary: closing },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        Buffer.alloc(0),
        Buffer.alloc(125, 0x61),
        Buffer.alloc(126),
        Buffer.alloc(70_000, 0x20)
      )
    }
  )

const wellMade = (messages: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
  fc
    .record({
      fin: fc.oneof({ weight: 6, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
      opcode: fc.oneof(
        { weight: 6, arbitrary: fc.constant(opcodes.text) },
        { weight: 4, arbitrary: fc.constantFrom(...Object.values(opcodes)) },
        { weight: 1, arbitrary: fc.nat(15) }
      ),
      payload: payload(messages)
    })
    .map((frame) => encode(frame, true))

/** A head whose length says anything, with or without bytes behind it. */
const lying = fc
  .record({
    first: fc.nat(255),
    masked: fc.boolean(),
    length: fc.constantFrom(
      Buffer.from([0]),
      Buffer.from([125]),
      Buffer.from([126, 0, 1]),
      Buffer.from([126, 255, 255]),
      Buffer.from([127, 0, 0, 0, 0, 0, 128, 0, 1]),
      Buffer.from([127, 0, 31, 255, 255, 255, 255, 255, 255]),
      Buffer.from([127, 127, 255, 255, 255, 255, 255, 255, 255]),
      Buffer.from([127, 255, 255, 255, 255, 255, 255, 255, 255])
    ),
    rest: fc.uint8Array({ maxLength: 20 })
  })
  .map(({ first, length, masked, rest }) => {
    const size = Buffer.from(length)
    if (masked) size[0] = (size[0] ?? 0) | 0x80
    return Buffer.concat([Buffer.from([first]), size, rest])
  })

export const frameBytes = (messages: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
  fc.oneof(
    { weight: 10, arbitrary: wellMade(messages) },
    {
      weight: 1,
      arbitrary: fc.tuple(wellMade(messages), fc.nat(20), fc.nat(255)).map(([frame, at, byte]) => {
        const changed = Buffer.from(frame)
        if (changed.length > 0) changed[at % changed.length] = byte
        return changed
      })
    },
    { weight: 1, arbitrary: lying },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 1,
      arbitrary: messages.map((text) => encode({ fin: true, opcode: opcodes.text, payload: Buffer.from(text) }, false))
    }
  )
