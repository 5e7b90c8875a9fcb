"""What is read from a checkpoint file is data: nothing in it is ever imported or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from config.errors import Damaged
from memory.checkpoints.serializer import StrictSerializer


def test_a_forged_blob_runs_nothing(tmp_path: Path) -> None:
    """What LangGraph's permissive default would execute: ext 0 is (module, name, argument), imported and called."""
    proof = tmp_path / "ran"
    blob = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("os", "system", f"touch {proof}"))))
    forgeries = [blob]
    forgeries += [ormsgpack.packb(ormsgpack.Ext(1, ormsgpack.packb(("os", "system", [f"touch {proof}"]))))]
    forgeries += [
        ormsgpack.packb(ormsgpack.Ext(2, ormsgpack.packb(("subprocess", "run", {"args": ["touch", str(proof)]}))))
    ]
    forgeries += [ormsgpack.packb(ormsgpack.Ext(3, ormsgpack.packb(("pathlib", "Path", str(proof), "touch"))))]
    for serializer in (StrictSerializer(), StrictSerializer().with_msgpack_allowlist([("os", "system")])):
        for forged in forgeries:
            serializer.loads_typed(("msgpack", forged))
            assert not proof.exists()
    JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(("msgpack", blob))
    assert proof.exists(), "the forgery is a real one"


def test_a_constructor_dict_is_data_and_comes_back_as_data() -> None:
    forged = {"lc": 1, "type": "constructor", "id": ["langchain", "llms", "openai", "OpenAI"], "kwargs": {"k": "v"}}
    forged2 = {"lc": 2, "type": "constructor", "id": ["pathlib", "Path"], "args": ["/"]}
    serializer = StrictSerializer()
    assert serializer.loads_typed(serializer.dumps_typed({"a": [forged, forged2]})) == {"a": [forged, forged2]}


@pytest.mark.parametrize("kind", ["json", "pickle", "nonsense"])
def test_a_value_of_a_kind_that_we_never_write_is_damage(kind: str) -> None:
    with pytest.raises(Damaged, match=kind):
        StrictSerializer().loads_typed(
            (kind, b'{"lc": 2, "type": "constructor", "id": ["pathlib", "Path"], "args": ["/"]}')
        )
    with pytest.raises(Damaged):
        StrictSerializer().loads_typed(("msgpack", b"\xc1\xff"))


_STATE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_STATE)
@settings(max_examples=100, deadline=None)
def test_plain_state_comes_back_equal(value: Any) -> None:
    serializer = StrictSerializer()
    assert serializer.loads_typed(serializer.dumps_typed(value)) == value
