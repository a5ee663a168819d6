/** Pages of the plane itself: one document each, with a policy that allows exactly its own script and style. */
import { createHash } from "node:crypto"
import type { Answer } from "../Answer.ts"

const sourceHash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

export const page = (input: {
  readonly title: string
  readonly style: string
  readonly script: string
  readonly body: string
}): Answer => ({
  status: 200,
  headers: {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": [
      "default-src 'none'",
      `script-src ${sourceHash(input.script)}`,
      `style-src ${sourceHash(input.style)}`,
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'"
    ].join("; "),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff"
  },
  body: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${input.title}</title>
<style>${input.style}</style>
</head>
<body>${input.body}<script>${input.script}</script></body>
</html>
`
})
