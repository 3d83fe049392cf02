"""Agents' decisions under a model of PostgreSQL's replication, with every fault that can be had.

`rules` is what must hold in every state; `server` is PostgreSQL and pg_receivewal, `verbs` what can
be done to a node, `node` one node with its agent's shell, `cluster` all of them with their network,
clients and faults, `schedules` the random ones (`python -m tests.unit.election --help`),
`mutations` the faults of our own that the model must find.
"""
