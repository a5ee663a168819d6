/** Refusals as they are answered: a problem for programs, a page for people. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { IncomingMessage } from "node:http"
import { type Answer, problem } from "../../http/Answer.ts"
import { isNavigation } from "../../http/router/RouterRequest.ts"
import type { Downstream } from "../../proxy/Downstream.ts"
import type { Refusal } from "../ProxyError.ts"

const style =
  ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:100vh;margin:0}" +
  "main{max-width:50rem;padding:2rem}h1{font-size:1.25rem;font-weight:600;margin:0}p{margin:.25rem 0;opacity:.7}" +
  "pre{overflow:auto;padding:1rem;border:1px solid;border-radius:.5rem;font-size:.85rem}"

const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`)

interface Details {
  /** Stands in the log beside the cause. */
  readonly errorId: string | undefined
  readonly cause: string | undefined
  readonly output: ReadonlyArray<string>
}

const page = (refusal: Refusal, details: Details): Answer => {
  const { code, detail, retryAfterSeconds, status } = refusal
  const refresh = retryAfterSeconds === null ? "" : `<meta http-equiv="refresh" content="${retryAfterSeconds}">\n`
  const facts = [
    ...(details.cause === undefined ? [] : [`<p>${escaped(details.cause)}</p>`]),
    ...(details.output.length === 0 ? [] : [`<pre>${escaped(details.output.join("\n"))}</pre>`]),
    `<p><small>${status} ${code}${details.errorId === undefined ? "" : ` · ${details.errorId}`}</small></p>`
  ]
  return {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
      "x-content-type-options": "nosniff",
      "x-robots-tag": "noindex"
    },
    body: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh}<title>${escaped(detail)}</title>
<style>${style}</style>
</head>
<body><main role="status"><h1>${escaped(detail)}</h1>${facts.join("")}</main></body>
</html>
`
  }
}

const refused = (refusal: Refusal, details: Details, html: boolean): Answer => {
  const { code, detail, retryAfterSeconds, status } = refusal
  const answer = html
    ? page(refusal, details)
    : problem({
        status,
        code,
        detail,
        members: {
          ...(retryAfterSeconds === null ? {} : { retry_after_seconds: retryAfterSeconds }),
          ...(details.errorId === undefined ? {} : { error_id: details.errorId }),
          ...(details.cause === undefined ? {} : { cause: details.cause }),
          ...(details.output.length === 0 ? {} : { output: details.output.join("\n") })
        }
      })
  const retry = retryAfterSeconds === null ? {} : { "retry-after": String(retryAfterSeconds) }
  return { ...answer, headers: { ...answer.headers, ...retry } }
}

/** Six digits of base 36. */
const newErrorId = Effect.map(Random.nextIntBetween(36 ** 5, 36 ** 6), (number) => number.toString(36))

/** Somebody on this machine sees the cause; others an id that stands beside it in the log. */
export const refuse = (
  client: Downstream,
  request: IncomingMessage,
  local: boolean,
  refusal: Refusal
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { cause, code, detail, output, status } = refusal
    const faulty = status >= 500
    const errorId = faulty && !local ? yield* newErrorId : undefined
    const log = faulty ? Effect.logWarning : Effect.logDebug
    yield* Effect.annotateLogs(log(`${code}: ${cause}`), errorId === undefined ? {} : { error_id: errorId })
    const details = local && cause !== detail ? { cause, output } : { cause: undefined, output: [] }
    client.answer(refused(refusal, { ...details, errorId }, isNavigation(request)))
  })
