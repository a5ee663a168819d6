/** What a browser shows while a project wakes: a page that loads itself again. No script, nothing from elsewhere. */
import type { Answer } from "../Answer.ts"

const style =
  ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:100vh;margin:0}" +
  "main{text-align:center;padding:2rem}h1{font-size:1.25rem;font-weight:600;margin:1rem 0 .25rem}p{margin:0;opacity:.7}" +
  "i{display:block;width:2rem;height:2rem;margin:auto;border-radius:50%;border:3px solid;border-right-color:transparent;animation:t 1s linear infinite}" +
  "@keyframes t{to{transform:rotate(1turn)}}@media(prefers-reduced-motion){i{animation:none}}"

export const waitingPage = (input: {
  readonly title: string
  readonly detail: string
  readonly retryAfterSeconds: number
}): Answer => ({
  status: 503,
  headers: {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "retry-after": String(input.retryAfterSeconds),
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors *",
    "x-robots-tag": "noindex"
  },
  body: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${input.retryAfterSeconds}">
<title>${input.title}</title>
<style>${style}</style>
</head>
<body><main role="status"><i aria-hidden="true"></i><h1>${input.title}</h1><p>${input.detail}</p></main></body>
</html>
`
})
