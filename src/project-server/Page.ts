/** A page to try the documents with. Its links are relative, so it works on a subdomain and beneath `/projects/<id>/`. */
import type { Answer } from "./Answer.ts"

const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Documents</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
  form { display: flex; gap: .5rem; flex-wrap: wrap }
  input { font: inherit; padding: .4rem .6rem; flex: 1 1 10rem; min-width: 0 }
  button { font: inherit; padding: .4rem 1rem }
  table { width: 100%; border-collapse: collapse; margin-top: 1.5rem; table-layout: fixed }
  th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid #8884; overflow-wrap: anywhere }
  th:last-child, td:last-child { width: 5rem; text-align: right }
  output { display: block; min-height: 1.5em; margin-top: .75rem; opacity: .8 }
</style>
<h1>Documents</h1>
<p>JSON documents of this project. Open the page twice: what one writes, the other sees.</p>
<form>
  <input name="key" aria-label="Key" placeholder="key" required value="greeting">
  <input name="value" aria-label="Value" placeholder="value, as JSON or text" required value="hello">
  <button>Put</button>
</form>
<output id="status">connecting…</output>
<table>
  <thead><tr><th>Key</th><th>Value</th><th>Version</th></tr></thead>
  <tbody></tbody>
</table>
<script type="module">
  const status = document.querySelector("#status")
  const body = document.querySelector("tbody")
  const rows = new Map()
  let socket, next = 1, waiting = new Map(), delay = 250

  const show = ({ key, value, version }) => {
    const known = rows.get(key)
    if (known && known.version >= version) return
    const row = known?.row ?? body.insertRow()
    if (!known) for (let i = 0; i < 3; i++) row.insertCell()
    row.cells[0].textContent = key
    row.cells[1].textContent = JSON.stringify(value)
    row.cells[2].textContent = version
    rows.set(key, { row, version })
  }
  const hide = ({ key }) => { rows.get(key)?.row.remove(); rows.delete(key) }
  const ask = (request) => new Promise((resolve) => {
    const id = next++
    waiting.set(id, resolve)
    socket.send(JSON.stringify({ id, ...request }))
  })
  const load = async () => {
    await ask({ op: "subscribe", prefix: "" })
    const { keys } = await ask({ op: "list", limit: 1000 })
    const found = new Set(keys.map(({ key }) => key))
    for (const key of [...rows.keys()]) if (!found.has(key)) hide({ key })
    for (const { key } of keys) {
      const { value, version } = await ask({ op: "get", key })
      if (version) show({ key, value, version })
    }
  }
  const connect = () => {
    const url = new URL("ws", document.baseURI)
    url.protocol = url.protocol.replace("http", "ws")
    socket = new WebSocket(url)
    socket.onopen = () => { delay = 250; status.textContent = "connected"; load() }
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      if (message.event === "put") return show(message)
      if (message.event === "delete") return hide(message)
      waiting.get(message.id)?.(message)
      waiting.delete(message.id)
    }
    socket.onclose = () => {
      waiting.clear()
      status.textContent = "connecting…"
      setTimeout(connect, delay = Math.min(delay * 2, 10000))
    }
  }
  document.querySelector("form").onsubmit = async (event) => {
    event.preventDefault()
    const { key, value: { value: text } } = event.target.elements
    let value = text
    try { value = JSON.parse(text) } catch {}
    const began = performance.now()
    const answer = await ask({ op: "put", key: key.value, value })
    status.textContent = answer.ok
      ? "on disk as version " + answer.version + " after " + (performance.now() - began).toFixed(1) + " ms"
      : answer.error.message
  }
  connect()
</script>
</html>
`

export const page: Answer = {
  status: 200,
  headers: {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-cache",
    "content-security-policy":
      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff"
  },
  body: html
}
