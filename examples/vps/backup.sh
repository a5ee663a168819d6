#!/bin/sh
# A copy of every project's database, taken while its server runs, checked before it replaces the one before.
# Usage: backup.sh DATA_DIR BACKUP_DIR      needs sqlite3
set -eu
data=$1
backups=$2
umask 077
mkdir -p "$backups"
failed=0
for database in "$data"/*/project.db; do
  [ -f "$database" ] || continue
  id=$(basename "$(dirname "$database")")
  rm -f "$backups/$id.new"
  if sqlite3 -cmd '.timeout 10000' "$database" ".backup '$backups/$id.new'" &&
    [ "$(sqlite3 "$backups/$id.new" 'PRAGMA integrity_check')" = ok ]; then
    mv "$backups/$id.new" "$backups/$id.db"
  else
    echo "backup of $id failed; the one before it is kept" >&2
    rm -f "$backups/$id.new"
    failed=1
  fi
done
exit $failed
