"""`python -m tests.fakes.outbox_writers FOLDER POSTS ROUNDS SEED`: processes that write the same outbox and are killed
at it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import timedelta
from pathlib import Path

from tests.fakes.killing import kill_rounds
from tests.fakes.publishing import a_parcel, a_post
from tools.publish.outbox import OutboxPublisher
from tools.publish.protocol import NothingSent, Parcel


def parcels(posts: int) -> list[Parcel]:
    return [a_parcel(a_post(title=f"Post {n}", caption="Breathe. " * 500), piece_id=f"piece-{n}") for n in range(posts)]


async def write_all(folder: Path, posts: int, seed: int) -> None:
    publisher = OutboxPublisher(folder)
    mine = parcels(posts)
    random.Random(seed).shuffle(mine)
    for parcel in mine:
        try:
            await publisher.finalize(parcel, part=0, handle="", reply_to="", timeout=timedelta(seconds=5))
        except NothingSent as error:
            raise AssertionError(f"nobody held the outbox for long: {error}") from error


def main() -> None:
    folder, posts, rounds, seed = Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:5])
    killed = kill_rounds(
        lambda number: asyncio.run(write_all(folder, posts, seed + number)),
        children=2,
        rounds=rounds,
        longest_s=0.06,
        seed=seed,
    )
    print(killed)


if __name__ == "__main__":
    main()
