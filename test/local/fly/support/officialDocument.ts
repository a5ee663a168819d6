/**
 * Fly's OpenAPI document as a judge of answers, stricter than it says: what it does not name must not be there. Where
 * Fly itself differs from its document, the difference is written down here.
 */
import * as Ajv from "ajv"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"

const Json = Schema.Record(Schema.String, Schema.Unknown)
type Json = Readonly<Record<string, unknown>>
const isJson = Schema.is(Json)

const object = (value: unknown): Json => (isJson(value) ? value : {})

const closed = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(closed)
  if (!isJson(schema)) return schema
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]))
  return inner["properties"] !== undefined && inner["additionalProperties"] === undefined
    ? { ...inner, additionalProperties: false }
    : inner
}

const text = { type: "string" }
const withFields = (schema: unknown, fields: Json): Json => ({
  ...object(schema),
  properties: { ...object(object(schema)["properties"]), ...fields }
})

const patched = (schemas: Json): Json => ({
  ...schemas,
  // Sent by Fly, left out of the document.
  Machine: withFields(schemas["Machine"], { version: text, cordoned: { type: "boolean" } }),
  // `off` reads back as false, `stop` as true.
  "fly.MachineService": withFields(schemas["fly.MachineService"], {
    autostop: { enum: [true, false, "suspend"] }
  }),
  // Wrapped, unlike the document says.
  Lease: { properties: { status: text, data: schemas["Lease"] }, required: ["status", "data"] },
  // Null while nothing is attached.
  Volume: withFields(schemas["Volume"], {
    attached_machine_id: { type: "string", nullable: true },
    attached_alloc_id: { type: "string", nullable: true }
  }),
  OrgVolume: withFields(schemas["OrgVolume"], {
    attached_machine_id: { type: "string", nullable: true },
    attached_alloc_id: { type: "string", nullable: true }
  }),
  // The document knows the first two.
  "main.statusCode": {
    enum: ["unknown", "insufficient_capacity", "volume_placement_capacity", "name_taken"]
  },
  // Capitalized by the platform endpoints.
  "main.regionResponse": {
    properties: { Nearest: text, Regions: { type: "array", items: schemas["main.regionRow"] } },
    required: ["Nearest", "Regions"]
  },
  "main.getPlacementsResponse": {
    properties: {
      Regions: {
        type: "array",
        items: { properties: { Region: text, Count: { type: "integer" }, Concurrency: { type: "integer" } } }
      }
    },
    required: ["Regions"]
  },
  // Leases answer in a shape of their own.
  ErrorResponse: {
    anyOf: [
      { ...object(schemas["ErrorResponse"]), required: ["error"] },
      { properties: { status: { enum: ["error"] }, message: text }, required: ["status", "message"] }
    ]
  }
})

const key = "fly"

export interface Exchange {
  readonly method: string
  /** Without `/v1` and without a query. */
  readonly path: string
  readonly status: number
  readonly body: unknown
}

/** A function that says what is wrong with an exchange; null where nothing is. */
export const judge = (file: string): ((exchange: Exchange) => string | null) => {
  const document = object(JSON.parse(readFileSync(file, "utf8")))
  const schemas = patched(object(object(document["components"])["schemas"]))
  const ajv = new Ajv.Ajv({ strict: false, allErrors: true, validateFormats: false })
  ajv.addSchema({ $id: key, components: { schemas: object(closed(schemas)) } })
  const paths = Object.entries(object(document["paths"])).map(([path, methods]) => ({
    // A literal segment is a better fit than a parameter.
    parameters: path.split("{").length,
    pattern: new RegExp(`^${path.replaceAll(/\{[^}]+\}/g, "[^/]+")}$`),
    methods: object(methods)
  }))
  return ({ body, method, path, status }) => {
    const operation = paths
      .filter((it) => it.pattern.test(path) && it.methods[method.toLowerCase()] !== undefined)
      .toSorted((a, b) => a.parameters - b.parameters)[0]?.methods[method.toLowerCase()]
    if (operation === undefined) return `${method} ${path} is not in the document`
    const responses = object(object(operation)["responses"])
    const response = responses[String(status)]
    const named = object(object(object(response)["content"])["application/json"])["schema"]
    if (response === undefined && status < 400) return `${method} ${path} does not answer ${status}`
    const schema = status >= 400 ? { $ref: "#/components/schemas/ErrorResponse" } : named
    if (schema === undefined) return null
    const ref = JSON.stringify(schema).replaceAll('"#/components', `"${key}#/components`)
    return ajv.validate(JSON.parse(ref), body) ? null : `${method} ${path} ${status}: ${ajv.errorsText()}`
  }
}
