"""What turns graph state into bytes and back, and never into code.

LangGraph's default serializer imports and calls whatever name a checkpoint file holds, so whoever can write the file
can run code. This one is told that no module is allowed, and cannot be told otherwise later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from config.errors import BadInput, Damaged

_TYPES = frozenset({"null", "bytes", "bytearray", "msgpack"})


class StrictSerializer(JsonPlusSerializer):
    """Plain data, datetimes, decimals, uuids and LangGraph's own types; any other object comes back as plain data."""

    def __init__(self) -> None:
        # In the installed version True means "import anything", None and [] both mean "the built-in safe types only".
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> StrictSerializer:
        """This serializer, unchanged: LangGraph's strict mode would add every class that a graph's schema names."""
        return self

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """`obj` as a type tag and bytes. Raises BadInput for a value that cannot be stored."""
        try:
            return super().dumps_typed(obj)
        except (TypeError, RecursionError) as error:  # ormsgpack's error is a TypeError
            raise BadInput(
                f"graph state holds something that cannot be stored ({error}): keep ids and plain JSON values in state"
            ) from error

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value of a stored pair. Raises Damaged for a tag or bytes that this program never writes."""
        if data[0] not in _TYPES:
            # "json" rows revive LangChain objects and "pickle" rows run code; neither was ever written by us.
            raise Damaged(
                f"a checkpoint holds a value of type {data[0]!r}, not one of ours: restore it with `copydesk restore`"
            )
        try:
            return super().loads_typed(data)
        except ValueError as error:  # ormsgpack's decoding error is a ValueError
            raise Damaged(f"a checkpoint cannot be read ({error}): restore it with `copydesk restore`") from error
