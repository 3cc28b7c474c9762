"""A pooler before PostgreSQL that takes another session for each transaction, and with it what was prepared.

PgBouncer keeps prepared statements for its clients since 1.21, where `max_prepared_statements` is not 0
(200 since 1.24: https://www.pgbouncer.org/config.html). Else asyncpg's are lost in transaction mode.
"""

from typing import Final

import asyncpg

FORGETS: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
REMEDY: Final = (
    "a pooler lost what was prepared; PgBouncer needs `pool_mode = session`, or version 1.21 and"
    " `max_prepared_statements`"
)
