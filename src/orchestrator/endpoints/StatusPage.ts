/**
 * `/status` for people: the JSON of the same address, read again every two seconds. Where it asks for the admin token, so
 * does the page, and keeps it in memory alone: a project's page at the same origin could read any storage.
 */
import { page } from "../../http/dashboard/Html.ts"

const style = `
:root{color-scheme:light dark;--line:color-mix(in srgb,CanvasText 18%,transparent);--soft:color-mix(in srgb,CanvasText 62%,transparent)}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:100rem;padding:1.5rem}
header{display:flex;align-items:baseline;gap:1rem;flex-wrap:wrap;margin-bottom:1rem}
h1{font-size:1.25rem;margin:0}
#note{color:var(--soft);margin-left:auto}
form{display:flex;gap:.5rem;flex-wrap:wrap;align-items:end}
label{display:grid;gap:.25rem;font-size:.85rem}
input,button{font:inherit;padding:.35rem .6rem;border:1px solid var(--line);border-radius:.4rem;background:transparent;color:inherit}
button{cursor:pointer}
a{color:inherit}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.75rem;margin:0 0 1.5rem}
dl div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .75rem}
dt{color:var(--soft);font-size:.8rem}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th{font-weight:500;color:var(--soft);font-size:.8rem}
th:first-child,td:first-child{position:sticky;left:0;background:Canvas}
td.wide{white-space:normal;min-width:10rem}
pre{font-size:.8rem;margin:.25rem 0 0;white-space:pre-wrap;overflow-wrap:anywhere;max-height:20rem;overflow-y:auto}
summary{cursor:pointer;color:var(--soft)}
.running{color:#1e8449}.starting,.stopping{color:#b9770e}.backoff,.failed,.bad,#note.bad{color:#c0392b}
[hidden]{display:none}
`

const body = `
<header><h1>Valet orchestrator</h1><span id="version"></span><span id="note" role="status"></span><button id="out" type="button" hidden>Sign out</button></header>
<form id="in" hidden><label>Admin token<input id="token" type="password" autocomplete="off" required></label><button>Sign in</button></form>
<main id="main" hidden>
<dl id="totals"></dl>
<div class="scroll"><table>
<thead><tr><th>Project<th>State<th>Connections<th>Requests<th>Awake because<th>Stops in<th>Health<th>Restarts<th>Cold start<th>Memory<th>Process<th>Output</thead>
<tbody id="servers"></tbody></table></div>
<p id="none" hidden>No server yet: open /projects/&lt;id&gt;/ to start one.</p>
</main>
`

const script = `
const $ = (id) => document.getElementById(id)
const rows = new Map()
let timer, running = false, token = null
const note = (text, bad) => { $("note").textContent = text; $("note").className = bad ? "bad" : "" }
const text = (node, value) => { const shown = String(value ?? "–"); if (node.textContent !== shown) node.textContent = shown }
const span = (seconds) => {
  const s = Math.max(0, Math.round(seconds))
  if (s < 90) return s + " s"
  if (s < 5400) return Math.floor(s / 60) + " min " + (s % 60) + " s"
  return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min"
}
const bytes = (count) => count === null ? "–" : count < 1e9 ? Math.round(count / 1e6) + " MB" : (count / 1e9).toFixed(1) + " GB"
const until = (at, now) => at === null ? "–" : span((Date.parse(at) - now) / 1000)
const newRow = (id) => {
  const row = $("servers").insertRow(), link = document.createElement("a"), cells = {}
  for (const name of ["project", "state", "connections", "requests", "awake", "stops", "health", "restarts", "cold", "memory", "process", "output"]) cells[name] = row.insertCell()
  link.href = "/projects/" + encodeURIComponent(id) + "/"; link.textContent = id; link.target = "_blank"; link.rel = "noopener"
  cells.project.append(link)
  cells.awake.className = cells.output.className = "wide"
  const details = document.createElement("details"), summary = document.createElement("summary")
  cells.lines = document.createElement("pre"); cells.error = document.createElement("div"); cells.error.className = "bad"
  summary.textContent = "last lines"
  details.append(summary, cells.lines); cells.output.append(cells.error, details)
  return { row, cells, details }
}
const drawServer = (server, now) => {
  const id = server.project_id
  if (!rows.has(id)) rows.set(id, newRow(id))
  const { row, cells, details } = rows.get(id)
  text(cells.state, server.state); cells.state.className = server.state
  text(cells.connections, server.connections); text(cells.requests, server.requests)
  text(cells.awake, server.awake_because.join(", ") || "–")
  text(cells.stops, server.retry_at === null ? until(server.stops_at, now) : Date.parse(server.retry_at) > now ? "retry in " + until(server.retry_at, now) : "retry when asked for")
  const { status, misses, detail } = server.health
  text(cells.health, status + (misses > 0 ? ", " + misses + " missed" : "")); cells.health.className = status === "unhealthy" ? "bad" : ""
  cells.health.title = detail ?? ""
  text(cells.restarts, server.restarts)
  text(cells.cold, server.cold_start_ms === null ? null : server.cold_start_ms + " ms" + (server.warm ? ", warm" : ""))
  text(cells.memory, bytes(server.memory_bytes))
  text(cells.process, server.pid === null ? null : server.pid + (server.port === null ? "" : " on " + server.port))
  text(cells.error, server.last_error ?? ""); cells.error.hidden = server.last_error === null
  text(cells.lines, server.last_output.join("\\n")); details.hidden = server.last_output.length === 0
  return row
}
const draw = (status, now) => {
  const totals = status.totals
  text($("version"), status.version)
  const pairs = [
    ["Up for", span(status.uptime_seconds)], ["Servers", totals.servers + " of " + totals.max_servers], ["Warm", totals.warm_servers],
    ["Connections", totals.connections], ["Requests", totals.requests], ["Memory", bytes(totals.memory_bytes)], ["Spawns", totals.spawns],
    ["Warm claims", totals.warm_claims], ["Stops", totals.stops], ["Crashes", totals.crashes], ["Evictions", totals.evictions],
    ["Replaced", totals.replaced], ["Refused", totals.refused]
  ]
  $("totals").replaceChildren(...pairs.map(([name, value]) => {
    const div = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd")
    dt.textContent = name; dd.textContent = value; div.append(dt, dd); return div
  }))
  const present = new Set(status.servers.map((server) => server.project_id))
  for (const [id, { row }] of rows) if (!present.has(id)) { row.remove(); rows.delete(id) }
  status.servers.forEach((server, at) => {
    const row = drawServer(server, now), there = $("servers").rows[at]
    if (there !== row) $("servers").insertBefore(row, there ?? null)
  })
  $("none").hidden = status.servers.length > 0
}
const ask = (message) => { $("in").hidden = false; $("main").hidden = $("out").hidden = true; note(message, message !== ""); $("token").focus() }
const refresh = async () => {
  if (running) return
  running = true
  try {
    const response = await fetch(location.pathname, {
      headers: { accept: "application/json", ...(token === null ? {} : { authorization: "Bearer " + token }) },
      cache: "no-store", signal: AbortSignal.timeout(10000)
    })
    if (response.status === 401) { clearInterval(timer); const message = token === null ? "" : "That token was not accepted."; token = null; return ask(message) }
    if (!response.ok) throw new Error("The orchestrator answered " + response.status + ".")
    const status = await response.json()
    draw(status, Date.parse(response.headers.get("date")) || Date.now())
    $("in").hidden = true; $("main").hidden = false; $("out").hidden = token === null
    note("Updated " + new Date().toLocaleTimeString())
  } catch (error) { note(error.name === "TypeError" || error.name === "TimeoutError" ? "The orchestrator does not answer." : error.message, true) }
  finally { running = false }
}
const start = () => { clearInterval(timer); timer = setInterval(() => document.hidden || refresh(), 2000); refresh() }
$("in").onsubmit = (event) => { event.preventDefault(); token = $("token").value; $("token").value = ""; start() }
$("out").onclick = () => { clearInterval(timer); token = null; start() }
document.onvisibilitychange = () => document.hidden || $("main").hidden || refresh()
start()
`

export const statusPage = page({ title: "Valet orchestrator", style, script, body })
