//! Leases: rows with an expiry time. It is measured with the machine's wall clock, since several processes have to
//! agree on it. If the clock jumps back behind a lease's last renewal, the lease counts as renewed now, so that it
//! can't outlive its time by the jump.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use occopus_engine::ports::LeaseId;
use rusqlite::{Connection, params};

/// Returns the milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

pub(crate) fn grant(connection: &Connection, ttl: Duration) -> rusqlite::Result<LeaseId> {
    let now = now();
    let ttl = millis(ttl);
    connection.prepare_cached("INSERT INTO lease (ttl, renewed, expires) VALUES (?1, ?2, ?3)")?.execute(params![
        ttl,
        now,
        now.saturating_add(ttl)
    ])?;
    Ok(connection.last_insert_rowid().unsigned_abs())
}

pub(crate) fn keep_alive(connection: &Connection, lease: LeaseId) -> rusqlite::Result<bool> {
    let kept = connection
        .prepare_cached("UPDATE lease SET renewed = ?2, expires = ?2 + ttl WHERE id = ?1 AND expires > ?2")?
        .execute(params![lease.cast_signed(), now()])?;
    Ok(kept > 0)
}

/// Ends a lease; its entries are removed by the next purge, which the caller runs in the same transaction.
pub(crate) fn revoke(connection: &Connection, lease: LeaseId) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE lease SET expires = 0 WHERE id = ?1")?.execute([lease.cast_signed()])?;
    Ok(())
}

/// Removes the leases that have ended, and returns their keys, which the caller removes.
pub(crate) fn purge(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let now = now();
    connection
        .prepare_cached("UPDATE lease SET renewed = ?1, expires = ?1 + ttl WHERE renewed > ?1 AND expires > 0")?
        .execute([now])?;
    let keys = connection
        .prepare_cached(
            "SELECT key FROM entry WHERE lease IS NOT NULL AND lease NOT IN (SELECT id FROM lease WHERE expires > ?1)",
        )?
        .query_map([now], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    connection.prepare_cached("DELETE FROM lease WHERE expires <= ?1")?.execute([now])?;
    Ok(keys)
}
