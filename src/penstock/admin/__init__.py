"""The admin API: what is made at run time, who changed it, and what it was used for.

    table.py      one row per endpoint: path, who may, what it takes and gives. Read this first
    api.py        a request -> its row -> its answer
    rights.py     who sees and who may give what. Pure
    bodies.py     what is sent and what is answered, as structs; openapi.py writes the document from them

It answers requests of the gateway's door (types/door.py), knows the store by its Protocol and the running
configuration by that of types/control.py.
"""
