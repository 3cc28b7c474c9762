"""Several gateway processes on one machine: a supervisor, and workers that answer requests.

    messages.py    what they tell each other
    link.py        a socket that carries messages
    view.py        in a worker: the supervisor's engines
    part.py        in a worker: its place among the others
    crew.py        in the supervisor: worker processes, started again when they die
    watch.py       in the supervisor: workers that hang
    hub.py         in the supervisor: what it hears from workers, and whom it tells
    sockets.py     one address for many

What is wired from these is in penstock/worker.py and penstock/supervisor.py.
"""
