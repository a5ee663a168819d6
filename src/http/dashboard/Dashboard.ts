/**
 * The page at `/` of the bare host. It asks for the operator's bearer, keeps it in memory alone (pages of projects by
 * path have the same origin, and so its storage), and reads the same API as everybody.
 */
import { page } from "./Html.ts"

const style = `
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);--soft:color-mix(in srgb,currentColor 62%,transparent)}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1.5rem}
header{display:flex;align-items:baseline;gap:1rem;flex-wrap:wrap;margin-bottom:1rem}
h1{font-size:1.25rem;margin:0}
h2{font-size:.85rem;text-transform:uppercase;letter-spacing:.05em;color:var(--soft);margin:2rem 0 .5rem}
#note{color:var(--soft)}
#note.bad{color:#c0392b}
nav{margin-left:auto;display:flex;gap:1rem;align-items:center}
a{color:inherit}
form{display:flex;gap:.5rem;flex-wrap:wrap;align-items:end}
label{display:grid;gap:.25rem;font-size:.85rem}
input,button,select{font:inherit;padding:.35rem .6rem;border:1px solid var(--line);border-radius:.4rem;background:transparent;color:inherit}
button{cursor:pointer}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:.75rem;margin:0}
dl div{border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
dt{color:var(--soft);font-size:.8rem}
dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:500;color:var(--soft);font-size:.8rem}
.scroll{overflow-x:auto}
.bad{color:#c0392b}
[hidden]{display:none}
`

const body = `
<header><h1>Valet</h1><span id="note" role="status"></span>
<nav><a href="/api/docs">API</a><a href="/api/openapi.json">OpenAPI</a><button id="out" type="button" hidden>Sign out</button></nav></header>
<form id="in"><label>Control plane secret<input id="token" type="password" autocomplete="off" required></label><button>Sign in</button></form>
<main id="main" hidden>
<h2>Projects</h2><dl id="counts"></dl>
<h2>Machines</h2><dl id="machines"></dl>
<h2>Running operations</h2><div class="scroll"><table><thead><tr><th>Project<th>Operation<th>Generation<th>Lease until</thead><tbody id="running"></tbody></table></div>
<h2>Loops</h2><div class="scroll"><table><thead><tr><th>Loop<th>Last run<th>Took<th>Passes<th>Failures<th>Last error</thead><tbody id="loops"></tbody></table></div>
<h2>Newest projects</h2>
<form id="filter"><label>State<select id="state"><option value="">all<option>active<option>suspended<option>dormant</select></label></form>
<div class="scroll"><table><thead><tr><th>Project<th>State<th>Operation<th>Region<th>Created<th>Last active<th></thead><tbody id="projects"></tbody></table></div>
<p><button id="more" type="button" hidden>More</button></p>
</main>
`

const script = `
const $ = (id) => document.getElementById(id)
let bearer = ""
let timer, cursor = null
const note = (text, bad) => { $("note").textContent = text; $("note").className = bad ? "bad" : "" }
const call = async (path, options = {}) => {
  const response = await fetch(path, { ...options, headers: { ...options.headers, authorization: "Bearer " + bearer }, cache: "no-store" })
  if (response.status === 401) { leave("That secret was not accepted."); throw new Error("401") }
  const body = response.status === 204 ? null : await response.json()
  if (!response.ok) throw new Error(body.detail ?? response.statusText)
  return body
}
const cell = (row, value, bad) => { const td = row.insertCell(); td.append(value ?? "–"); if (bad) td.className = "bad"; return td }
const when = (text) => text ? new Date(text).toLocaleString() : "–"
const fill = (id, pairs) => $(id).replaceChildren(...pairs.map(([name, value]) => {
  const div = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd")
  dt.textContent = name; dd.textContent = value; div.append(dt, dd); return div
}))
const rows = (id, list, draw) => { const body = $(id); body.replaceChildren(); for (const item of list) draw(body.insertRow(), item) }
const act = (row, label, question, run) => {
  const button = document.createElement("button")
  button.type = "button"; button.textContent = label
  button.onclick = async () => {
    if (question && !confirm(question)) return
    button.disabled = true
    try { await run(); await refresh() } catch (error) { note(error.message, true) }
    button.disabled = false
  }
  row.append(button)
}
const drawProject = (row, project) => {
  cell(row, project.project_id); cell(row, project.state); cell(row, project.operation === "none" ? "" : project.operation)
  cell(row, project.region); cell(row, when(project.created_at)); cell(row, when(project.last_active_at))
  const path = "/api/projects/" + encodeURIComponent(project.project_id)
  const tools = row.insertCell()
  if (project.state === "dormant") act(tools, "Wake", "", () => call(path + "/wake", { method: "POST" }))
  else act(tools, "Archive", "Archive " + project.project_id + " now?", () => call(path + "/sleep", { method: "POST", headers: { "content-type": "application/json" }, body: '{"to":"dormant"}' }))
}
const list = async (more) => {
  const query = new URLSearchParams({ limit: "50" })
  if ($("state").value) query.set("state", $("state").value)
  if (more && cursor) query.set("cursor", cursor)
  const page = await call("/api/projects?" + query)
  if (more) for (const project of page.projects) drawProject($("projects").insertRow(), project)
  else rows("projects", page.projects, drawProject)
  cursor = page.next_cursor
  $("more").hidden = cursor === null
}
const refresh = async () => {
  const status = await call("/api/status")
  const { active, suspended, dormant, data_unavailable: lost } = status.projects
  fill("counts", [["Active", active], ["Suspended", suspended], ["Dormant", dormant], ["Data unavailable", lost], ["Archival", status.archival]])
  fill("machines", [
    ...Object.entries(status.pool.regions).map(([region, pool]) => ["Pool " + region, pool.ready + " of " + status.pool.target]),
    ["Used of limit", status.machines.used + " / " + status.machines.max], ["Bin", status.bin.discarded], ["Kept volumes", status.bin.kept],
    ["Replays", status.router.replays], ["Waiting", status.router.waiting]
  ])
  rows("running", status.running, (row, item) => { cell(row, item.project_id); cell(row, item.operation); cell(row, item.generation); cell(row, when(item.lease_until)) })
  rows("loops", status.loops, (row, loop) => {
    cell(row, loop.name + (loop.running ? " (running)" : "")); cell(row, when(loop.last_run_at)); cell(row, loop.last_duration_ms === null ? null : Math.round(loop.last_duration_ms) + " ms")
    cell(row, loop.runs); cell(row, loop.failures, loop.failures > 0); cell(row, loop.last_error, loop.last_error !== null)
  })
  await list(false)
  note("Updated " + new Date().toLocaleTimeString())
}
const tick = () => refresh().catch((error) => { if (error.message !== "401") note(error.message, true) })
const enter = () => { $("in").hidden = true; $("main").hidden = $("out").hidden = false; tick(); timer = setInterval(() => document.hidden || tick(), 5000) }
const leave = (text) => { clearInterval(timer); bearer = ""; $("in").hidden = false; $("main").hidden = $("out").hidden = true; note(text ?? "", text !== undefined) }
$("in").onsubmit = (event) => { event.preventDefault(); bearer = $("token").value; $("token").value = ""; enter() }
$("out").onclick = () => leave()
$("state").onchange = () => tick()
$("filter").onsubmit = (event) => event.preventDefault()
$("more").onclick = () => list(true).catch((error) => note(error.message, true))
`

export const dashboard = page({ title: "Valet", style, script, body })
