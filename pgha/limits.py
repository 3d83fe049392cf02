"""Every time limit of the operator's side, in seconds, by name and with its reason."""

from __future__ import annotations

# `status` never takes longer than 3 s (its contract): engine, connection and probe share this. The
# rest is for the process's start, the connections' end and the table, 0.6 s on two busy cores.
OBSERVE_S = 2.3
# Who changes something waits for a node whose container runs: on a busy machine it is late, and
# what would be refused without it is what the machine needs.
PATIENT_S = 5.0
# An engine's answer about its containers; more means that it hangs.
ENGINE_S = 1.5
# A probe ends so long before the look that it is a part of; the node's own limits on psql and pcp
# end it before that.
SPARE_S = 0.3
# What was seen this long ago may be acted on without looking again: the verbs check for themselves.
FRESH_S = 1.0
# Between two looks while a step's result is awaited.
VERIFY_PAUSE_S = 0.05
# A stopped node's volumes are read by a helper container, whose start takes about half a second.
AT_REST_S = 15.0
# One question of `doctor`: it looks at what may be broken, and waits for no one for long.
DOCTOR_S = 10.0
# A node's journal: two files of a megabyte.
RECORD_S = 10.0

# Verbs. A base backup and a rewind move data: their limit is a day, they end when they are done.
PROMOTE_S = 60.0
FENCE_S = 120.0
FOLLOW_S = 60.0
VOTE_S = 30.0
# A commit that a majority has: as soon as one follower streams.
CONFIRM_S = 30.0
# A word to the agents, which changes nothing.
HOLD_S = 3.0
FETCH_S = 300.0
STEER_S = 30.0
HALT_S = 150.0
# A container starts, and in it a standby that replays its last minutes until it is consistent.
START_S = 120.0
INITDB_S = 120.0
SQL_S = 60.0
COPY_S = 86_400.0

# One docker command that asks something. For those that make something: COMPOSE_HTTP_TIMEOUT, which
# has this as its default.
DOCKER_S = 60.0
COMPOSE_HTTP_TIMEOUT_S = 300.0
# An image that is built, pulled, pushed or sent takes as long as it takes, while something is said
# (COMPOSE_HTTP_TIMEOUT again), or bytes move.
IMAGE_S = 86_400.0
STALLED_S = 60.0
# What engine and images every host has: three docker commands on each, all hosts at once.
LOOK_AT_IMAGES_S = 70.0
# A container on an overlay cannot start while its host's Swarm is not heard, as just after a boot.
# Each try takes Docker up to 20 s.
START_AGAIN_S = 90.0
# Where the host's Swarm is in order, and between two tries.
READY_AGAIN_S = 8.0
AGAIN_PAUSE_S = 0.5
# The Swarm itself changes a host's entry for a moment after that has joined.
SWARM_AGAIN_S = 10.0
# What an engine is asked about its Swarm to explain a failure; it may wait for a majority.
SWARM_S = 5.0
# Ports between hosts: so long a firewall is silent before it is blamed, and the helper's own start.
PORTS_S = 8.0
HELPER_S = 20.0
# Looking at a host's directories from a helper container.
SURVEY_S = 30.0
