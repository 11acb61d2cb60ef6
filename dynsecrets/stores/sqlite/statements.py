"""The SQL of a store in SQLite. All of it is constant text: what a caller gives goes in as arguments."""

from __future__ import annotations

from typing import Final

from dynsecrets.stores.record_codec import COLUMNS

LIST: Final = ", ".join(COLUMNS)
INSERT: Final = f"INSERT INTO leases ({LIST}) VALUES ({', '.join('?' * len(COLUMNS))})"
#: What an update writes, in this order: what never changes is left out, so that its indexes are left alone.
CHANGING: Final = tuple(i for i, name in enumerate(COLUMNS) if name not in {"id", "name", "integration", "created_at"})
UPDATE: Final = f"UPDATE leases SET {', '.join(f'{COLUMNS[i]} = ?' for i in CHANGING)} WHERE id = ? AND version = ?"
GET: Final = f"SELECT {LIST} FROM leases WHERE id = ?1"
EXISTS: Final = "SELECT 1 FROM leases WHERE id = ?1"
COUNT: Final = """
SELECT count(*) FROM leases
WHERE name = ?1 AND state <> 'revoked' AND (ended_at IS NULL OR ended_at >= next_attempt_at)
"""
OLD: Final = "SELECT 1 FROM leases WHERE state = 'revoked' AND revoked_at < ?1 LIMIT 1"
PURGE: Final = """
DELETE FROM leases WHERE seq IN (SELECT seq FROM leases WHERE state = 'revoked' AND revoked_at < ?1 LIMIT ?2)
"""
LIVE: Final = f"SELECT {LIST} FROM leases WHERE state <> 'revoked'"
#: Of two versions of a record the later one stays.
RESTORE: Final = f"""
{INSERT} ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}
WHERE excluded.version > leases.version
"""
LAST: Final = "SELECT coalesce(max(seq), 0) FROM leases"

# Each of these gives a page of rows behind a position: sort key, sequence number, then the columns.
RECORDS: Final = f"""
SELECT created_at, seq, {LIST} FROM leases
WHERE seq <= ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR name = ?3) AND (?4 IS NULL OR integration = ?4)
  AND (created_at, seq) > (?5, ?6)
ORDER BY created_at, seq LIMIT ?7
"""
DUE: Final = f"""
SELECT due_at, seq, {LIST} FROM leases
WHERE integration = ?1 AND due_at >= 0 AND due_at <= ?2 AND (due_at, seq) > (?3, ?4)
ORDER BY due_at, seq LIMIT ?5
"""
# Claims have their end with a minus sign: those that are over at ?2, and those that end later than a claim can, at ?3.
LAPSED: Final = f"""
SELECT -due_at, seq, {LIST} FROM leases
WHERE integration = ?1 AND due_at < 0 AND (due_at >= -?2 OR due_at < -?3) AND (due_at, seq) < (-?4, ?5)
ORDER BY due_at DESC, seq DESC LIMIT ?6
"""
FAILED: Final = f"""
SELECT due_at, seq, {LIST} FROM leases
WHERE integration = ?1 AND state = 'revoking' AND claimed_by IS NULL AND (ended_at IS NULL OR attempts > 0)
  AND (due_at, seq) > (?2, ?3)
ORDER BY due_at, seq LIMIT ?4
"""
OF_PROCESS: Final = f"""
SELECT created_at, seq, {LIST} FROM leases WHERE process = ?1 AND (created_at, seq) > (?2, ?3)
ORDER BY created_at, seq LIMIT ?4
"""

# Each of these leaps from one value of an index to the next: it costs as many steps as there are values, not rows.
INTEGRATIONS: Final = """
WITH RECURSIVE found(value) AS (
    SELECT min(integration) FROM leases WHERE due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(integration) FROM leases WHERE due_at IS NOT NULL AND integration > found.value)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
"""
PROCESSES: Final = """
WITH RECURSIVE found(value) AS (
    SELECT min(process) FROM leases WHERE process IS NOT NULL AND process >= ?1
    UNION ALL
    SELECT (SELECT min(process) FROM leases WHERE process IS NOT NULL AND process > found.value)
    FROM found WHERE substr(found.value, 1, length(?1)) = ?1
)
SELECT value FROM found WHERE substr(value, 1, length(?1)) = ?1
"""
