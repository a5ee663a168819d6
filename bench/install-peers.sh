#!/bin/sh
# Installs what `npm run bench` compares with, and the compiler of its load generator: Debian's packages, and the npm
# packages of bench/peers at the versions of its lock file. Root; starts no service.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
  nginx-light haproxy caddy gcc libc6-dev util-linux postgresql-client postgresql-contrib
npm ci --prefix "$here/peers" --ignore-scripts
