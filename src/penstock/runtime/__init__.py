"""How replicas run on this machine: a process, its state machine, and the fleet of them."""
