"""What a node makes of whom it hears, and who answers it."""

from __future__ import annotations

from pgha.node.doors import Doors
from pgha.node.election_types import LEAVE, Config, Local, Server, Voter
from pgha.node.hearing import Hearing
from pgha.node.messages import Beat
from pgha.node.pauses import Pauses
from pgha.node.report import Role

CONFIG = Config("b", (Voter("a"), Voter("b"), Voter("w", data=False)), election_timeout_s=1.0)
FOLLOWER = Local(term=3, role=Role.STANDBY, upstream="a", doors=True, server=Server.STANDBY)
PRIMARYS = Beat(3, Role.PRIMARY, leads=True, serving=True, opened=True, up=("a",))


def followers(now: float, *, a_until: float, answered_until: float, w_hears: float) -> Hearing:
    """Node b's, at `now`: `a`, the primary, was heard until then, and answered b until then; the
    witness says all the time whom it hears, `a` among them until `w_hears`."""
    hearing = Hearing(CONFIG, 0.0)
    for tenth in range(round(now * 10) + 1):
        at = tenth / 10
        if at <= a_until:
            hearing.heard(at, "a", at if at <= answered_until else None)
            hearing.beat(at, FOLLOWER, "a", PRIMARYS)
        hears = ("a", "b") if at <= w_hears else ("b",)
        hearing.heard(at, "w", at)
        hearing.beat(at, FOLLOWER, "w", Beat(3, Role.WITNESS, hears=hears))
    return hearing


def test_a_primary_that_another_node_goes_on_to_hear_is_out_of_reach() -> None:
    cut_from_it = {"a_until": 5.0, "answered_until": 5.0, "w_hears": 99.0}
    assert not followers(6.4, **cut_from_it).out_of_reach(6.4)
    assert followers(6.6, **cut_from_it).out_of_reach(6.6)


def test_a_primary_that_died_is_not_out_of_reach_but_gone() -> None:
    """The witness notices it a little later than this node."""
    hearing = followers(6.6, a_until=5.0, answered_until=4.8, w_hears=6.2)
    assert not hearing.out_of_reach(6.6)


def test_a_node_that_nobody_is_heard_by_knows_of_no_door() -> None:
    hearing = followers(5.0, a_until=5.0, answered_until=5.0, w_hears=5.0)
    assert not hearing.out_of_reach(9.0)


def test_a_door_to_a_primary_that_does_not_answer_is_closed() -> None:
    """It is heard, so it is not lost; but what this door's sessions say does not arrive."""
    doors = {
        answered: Doors(
            CONFIG, followers(9.0, a_until=9.0, answered_until=answered, w_hears=9.0), Pauses()
        )
        for answered in (9.0, 8.1, 7.9)
    }
    wishes = [each.wish(9.0, FOLLOWER) for each in doors.values()]
    assert [wish not in (None, LEAVE) for wish in wishes] == [True, True, False]
    assert wishes[-1] is None


def test_a_door_stays_where_the_agent_has_just_started() -> None:
    hearing = Hearing(CONFIG, 8.5)
    hearing.heard(9.0, "a", None)
    hearing.beat(9.0, FOLLOWER, "a", PRIMARYS)
    assert Doors(CONFIG, hearing, Pauses()).wish(9.0, FOLLOWER) not in (None, LEAVE)
