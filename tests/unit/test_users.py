"""`user.create`, `user.password`, `user.delete`: what is said of a node that is away."""

from __future__ import annotations

from pgha.commands.base import Secret
from pgha.operations.users import user_create, user_delete, user_password
from pgha.settings import parse
from tests.unit.builders import cluster, primary, silent, standby, witness

SETTINGS = parse("WITNESS_NODE=node-2", source="t", environ={})
STATE = cluster(primary("node-0"), silent("node-1"), witness("node-2"))


def test_who_is_away_is_told_later_by_a_command_that_can_be_given_then() -> None:
    """The same `user.create` would be refused: the role is there by then."""
    (made,) = user_create(SETTINGS, "we ird", Secret("x"))(STATE).notes
    assert made == "node-1 does not answer; when it is back: inv user.password 'we ird'"
    (changed,) = user_password(SETTINGS, "app", Secret("x"))(STATE).notes
    assert changed == "node-1 does not answer; repeat the command when it is back."
    (dropped,) = user_delete(SETTINGS, "app")(STATE).notes
    assert "opens nothing any more" in dropped


def test_where_all_answer_nothing_more_is_said() -> None:
    healthy = cluster(primary("node-0"), standby("node-1"), witness("node-2"))
    assert user_create(SETTINGS, "app", Secret("x"))(healthy).notes == ()
