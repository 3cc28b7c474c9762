"""Who may use how much: the ledgers, one for each place where they keep their counts.

    file          keeps them in           for
    ------------  ----------------------  ----------------------------------------------------------------
    memory.py     this process            one process; nothing waits
    sqlite.py     a file                  several processes of one machine
    postgres.py   PostgreSQL              several machines
    redis.py      Redis or Valkey         several machines, most calls per second
    guarded.py    another ledger          what happens while a shared store does not answer

All say the same to the same calls. windows.py and rows.py tell what they say, shared.py how a lease ends; the
words are in types/ledger.py.
"""
