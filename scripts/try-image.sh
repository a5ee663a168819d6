#!/usr/bin/env bash
# Runs the steps of the Dockerfile without Docker: every stage in an empty folder that stands for /app, COPY from the
# files that .dockerignore lets through, RUN with this machine's npm and the Node of devDependencies. Then starts both images' CMD for a moment.
#
#   scripts/try-image.sh [--keep]
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
# The Node of the image, also where the system has an older one.
export PATH=$root/node_modules/.bin:$PATH
[[ "${1:-}" == "--keep" ]] && echo "in $work" || trap 'rm -rf "$work"' EXIT

allowed() { grep -qxF "!${1%%/*}" "$root/.dockerignore"; }
fail() { echo "try-image: $*" >&2; exit 1; }

stage="" from_line='^FROM ([^ ]+) AS ([^ ]+)$'
declare -A cmd base
while IFS= read -r line; do
  if [[ $line =~ $from_line ]]; then
    stage=${BASH_REMATCH[2]}
    base[$stage]=${BASH_REMATCH[1]}
    mkdir -p "$work/$stage"
    [[ -d $work/${base[$stage]} ]] && cp -a "$work/${base[$stage]}/." "$work/$stage/"
    echo "== $stage (from ${base[$stage]})"
    continue
  fi
  case $line in
    'COPY --from='*)
      read -ra words <<<"$line"
      other=${words[1]#--from=}
      for source in "${words[@]:2:${#words[@]}-3}"; do
        path=$work/$other/${source#/app/}
        [[ -e $path ]] || fail "$stage: $source is not in $other"
        cp -a "$path" "$work/$stage/${words[-1]}"
      done ;;
    COPY\ *)
      read -ra words <<<"$line"
      for source in "${words[@]:1:${#words[@]}-2}"; do
        allowed "$source" || fail "$stage: .dockerignore hides $source"
        [[ -e $root/$source ]] || fail "$stage: there is no $source"
        cp -a "$root/$source" "$work/$stage/${words[-1]}"
      done ;;
    RUN\ *)
      echo "   ${line#RUN }"
      (cd "$work/$stage" && sh -ec "${line#RUN }") ;;
    CMD\ *) cmd[$stage]=${line#CMD } ;;
  esac
done < <(sed -e ':join' -e '/\\$/{N;s/\\\n *//;b join' -e '}' -e '/^#/d' -e '/^$/d' "$root/Dockerfile")

command_of() { node -p 'JSON.parse(process.argv[1]).map((word) => `\x27${word}\x27`).join(" ")' "${cmd[$1]}"; }

echo "== control-plane starts: it must name what is not configured, and end with 2"
code=0
(cd "$work/control-plane" && env -i PATH="$PATH" sh -c "$(command_of control-plane)") 2>"$work/out" || code=$?
[[ $code == 2 ]] && grep -q "DATABASE_URL is not set" "$work/out" || { cat "$work/out" >&2; fail "ended with $code"; }
(cd "$work/control-plane" && node dist/valet.mjs --version)

echo "== project-server starts: it must answer /health, and end with 0 after SIGTERM"
port=$((20000 + RANDOM % 20000))
mkdir "$work/data"
(cd "$work/project-server" && exec env -i PATH="$PATH" HOST=127.0.0.1 PORT=$port DATA_DIR="$work/data" PROJECT_ID=try \
  sh -c "exec $(command_of project-server)") 2>"$work/out" &
server=$!
for _ in $(seq 100); do curl -fsS "http://127.0.0.1:$port/health" >"$work/health" 2>/dev/null && break; sleep 0.1; done
cat "$work/health"; echo
kill -TERM $server
wait $server || fail "project-server ended with $?"
du -sh "$work/control-plane" "$work/project-server" | sed "s#$work/##"
