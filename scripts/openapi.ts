/** Writes openapi.json from the contract: `node scripts/openapi.ts`. A test compares the two. */
import { writeFileSync } from "node:fs"
import * as OpenApi from "effect/http-api/OpenApi"
import { Api } from "../src/contract/Api.ts"

writeFileSync(new URL("../openapi.json", import.meta.url), `${JSON.stringify(OpenApi.fromApi(Api), null, 2)}\n`)
