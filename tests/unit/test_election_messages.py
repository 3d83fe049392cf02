"""What agents tell one another survives JSON, and what is no message is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.node.messages import (
    Ask,
    Beat,
    Deny,
    Grant,
    Message,
    Request,
    Would,
    from_document,
    to_document,
)
from pgha.node.report import Role

NUMBER = st.integers(0, 2**64)
NAMES = st.lists(st.text(max_size=8), max_size=3).map(tuple)
BEATS = st.builds(
    Beat,
    term=NUMBER,
    standing=NUMBER,
    out_s=st.floats(0, 1e6),
    up=NAMES,
    voters=NAMES,
    hears=NAMES,
    role=st.sampled_from(Role),
    **{name: st.booleans() for name in ("leads", "serving", "opened", "able", "stopped")},
)
MESSAGES = st.one_of(
    BEATS,
    st.builds(Ask, NUMBER),
    st.builds(Request, NUMBER),
    st.builds(Would, NUMBER, NUMBER, st.booleans(), st.text()),
    st.builds(Grant, NUMBER, NUMBER, NUMBER),
    st.builds(Deny, NUMBER, NUMBER, st.text()),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(MESSAGES)
def test_a_message_comes_back_from_json_as_it_was(message: Message) -> None:
    assert from_document(json.loads(json.dumps(to_document(message)))) == message


def test_fields_of_a_later_version_are_left_out() -> None:
    document = {**to_document(Ask(3)), "mood": "good"}
    assert from_document(document) == Ask(3)


def test_fields_of_an_earlier_version_have_their_defaults() -> None:
    beat = from_document({"kind": "beat", "term": 2, "role": "standby"})
    assert beat == Beat(2, Role.STANDBY)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "beat"},
        {"kind": "shout", "term": 1},
        {"kind": "ask"},
        {"kind": "ask", "term": None},
        {"kind": "ask", "term": "1"},
        {"kind": "ask", "term": 1.5},
        {"kind": "ask", "term": True},
        {"kind": "ask", "term": -1},
        {"kind": ["ask"], "term": 1},
        {"kind": "would", "term": 1},
        {"kind": "would", "term": 1, "known": "2", "yes": True},
        {"kind": "would", "term": 1, "known": 2, "yes": "no"},
        {"kind": "grant", "term": 1, "timeline": 1},
        {"kind": "grant", "term": 1, "timeline": "1", "lsn": 5},
        {"kind": "deny", "term": 1, "known": [1]},
        {"kind": "beat", "term": 1, "role": "king"},
        {"kind": "beat", "term": 1, "role": {}},
        {"kind": "beat", "term": 1, "role": "primary", "leads": "yes"},
        {"kind": "beat", "term": 1, "role": "primary", "out_s": "long"},
        {"kind": "beat", "term": 1, "role": "primary", "up": "node-0"},
        {"kind": "beat", "term": 1, "role": "primary", "hears": [1]},
    ],
    ids=str,
)
def test_what_is_no_message_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_document(document)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), JSON, JSON)
def test_junk_is_refused_by_a_value_error_and_nothing_else(
    document: dict[str, Any], kind: Any, term: Any
) -> None:
    for junk in (document, {**document, "kind": kind, "term": term}):
        with pytest.raises(ValueError, match=r".+"):
            from_document(junk)
