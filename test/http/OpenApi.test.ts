import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as OpenApi from "effect/http-api/OpenApi"
import { Api } from "../../src/contract/Api.ts"

const methods = ["get", "post", "put", "patch", "delete"] as const
const document = OpenApi.fromApi(Api)

describe("the OpenAPI document", () => {
  it("is the committed one: `node scripts/openapi.ts` writes it where the difference is meant", () => {
    const committed: unknown = JSON.parse(readFileSync(new URL("../../openapi.json", import.meta.url), "utf8"))
    assert.deepStrictEqual(JSON.parse(JSON.stringify(document)), committed)
  })

  it("has every endpoint, each with its errors as problems", () => {
    const operations = Object.entries(document.paths).flatMap(([path, item]) =>
      methods.flatMap((method) => {
        const operation = item[method]
        return operation === undefined ? [] : [{ name: `${method.toUpperCase()} ${path}`, operation }]
      })
    )
    assert.deepStrictEqual(operations.map(({ name }) => name).toSorted(), [
      "DELETE /api/projects/{id}",
      "GET /api/projects",
      "GET /api/projects/{id}",
      "GET /api/projects/{id}/events",
      "GET /api/route/{id}",
      "GET /api/status",
      "PATCH /api/projects/{id}",
      "POST /api/projects",
      "POST /api/projects/{id}/activity",
      "POST /api/projects/{id}/recover",
      "POST /api/projects/{id}/sleep",
      "POST /api/projects/{id}/wake"
    ])
    for (const { name, operation } of operations) {
      for (const [status, response] of Object.entries(operation.responses)) {
        if (Number(status) < 400) continue
        assert.deepStrictEqual(Object.keys(response.content ?? {}), ["application/problem+json"], `${name} ${status}`)
      }
    }
  })
})
