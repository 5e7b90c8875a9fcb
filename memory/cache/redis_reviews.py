"""`{PREFIX:BRAND}:compliance_review_queue` on Redis: a sorted set that people may look into with ZRANGE, too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.clock import to_millis
from config.ids import new_token
from memory.cache.protocol import REVIEWS_TTL, Stale
from memory.redis_client import RedisServer
from memory.rows.checks import Review

SCRIPT = (Path(__file__).parent / "redis_reviews.lua").read_text("utf-8")
QUEUE = "compliance_review_queue"
_MOST = 2000  # reviews of one rebuild: a script's arguments have a bound
_RANK = 10**14  # above any instant in milliseconds; five ranks stay exact in a double


class RedisReviewIndex:
    """See ReviewIndex, which is the specification."""

    def __init__(self, server: RedisServer, brand: str) -> None:
        self._server = server
        self._key = f"{{{server.address.prefix}:{brand}}}:{QUEUE}"

    async def _do(self, verb: str, *arguments: Any) -> Any:
        return await self._server.script(SCRIPT, [self._key], [verb, new_token(), *arguments])

    async def put(self, *reviews: Review) -> None:
        await self._do("put", *_arguments(reviews))

    async def remove(self, *ids: str) -> None:
        await self._do("remove", *ids)

    async def pending(self) -> Sequence[Review] | Stale:
        whole, answer = await self._do("pending")
        if not whole:
            return Stale(answer.decode())
        try:
            return sorted((Review.model_validate_json(text) for text in answer), key=lambda review: review.place)
        except ValidationError:
            return Stale("")  # another build's: the rows are asked, and its own index is left to it

    async def rebuild(self, reviews: Sequence[Review], stale: Stale) -> bool:
        if len(reviews) > _MOST:
            return False
        ttl = REVIEWS_TTL // timedelta(milliseconds=1)
        return bool(await self._do("rebuild", stale.change, ttl, *_arguments(reviews)))


def _arguments(reviews: Sequence[Review]) -> list[str | int]:
    flat: list[str | int] = []
    for review in reviews:
        flat += (review.id, review.place[0] * _RANK + to_millis(review.created_at), review.model_dump_json())
    return flat
