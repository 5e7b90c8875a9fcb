"""`python -m tests.fakes.publish_workers RECORDS PLATFORM POSTS ROUNDS SEED`: workers that publish the same posts and
are killed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import timedelta

from config.clock import SystemClock
from config.errors import CopydeskError
from config.log import configure_logging
from memory.lease import Unleased
from memory.records.protocol import open_records
from memory.rows.publication import LedgerStep
from tests.fakes.killing import kill_rounds
from tests.fakes.platform import FakePlatformPublisher
from tests.fakes.publishing import Times, a_parcel, a_post, a_thread, allowed
from tools.publish.fold import Publication
from tools.publish.ledger import BurstLimit, Ledger
from tools.publish.protocol import Parcel

TIMES = Times(permit=timedelta(seconds=2), send_timeout=timedelta(seconds=1), settle=timedelta(seconds=1))
"""Longer than a busy machine keeps a process waiting: else nobody would ever send in time, and the loop would not end."""
MANY = BurstLimit(most=10_000)


def parcels(posts: int) -> list[Parcel]:
    """Single posts, and every fifth a thread of three."""
    made = [a_thread(3) if n % 5 == 0 else a_post(caption=f"Post {n}") for n in range(posts)]
    return [a_parcel(post, piece_id=f"piece-{n}") for n, post in enumerate(made)]


async def publish_all(records_url: str, platform_url: str, posts: int, seed: int) -> None:
    """One worker: every post once, four at a time, in its own order. Nobody keeps two workers from the same post."""
    clock, mine = SystemClock(), parcels(posts)
    random.Random(seed).shuffle(mine)
    async with open_records(records_url, clock=clock) as store:
        ledger = Ledger(store.for_brand("eesystem"), clock, TIMES, boot_id="this boot", burst=MANY)
        publisher, slots = FakePlatformPublisher(platform_url), asyncio.Semaphore(4)

        async def one(parcel: Parcel) -> None:
            async with slots:
                try:
                    await ledger.publish(parcel, publisher, guard=Unleased(), still_allowed=allowed)
                    await ledger.resolve_by_readback(parcel, publisher)
                except CopydeskError:
                    pass  # a store or platform that is away: the next round tries again

        await asyncio.gather(*(one(parcel) for parcel in mine))


async def settle_all(records_url: str, platform_url: str, posts: int) -> dict[str, Publication]:
    """Publish and read back with nobody in the way until nothing more can happen; where every publication ended."""
    clock, ends = SystemClock(), {}
    async with open_records(records_url, clock=clock) as store:
        ledger = Ledger(store.for_brand("eesystem"), clock, TIMES, boot_id="this boot", burst=MANY)
        publisher = FakePlatformPublisher(platform_url)
        left = parcels(posts)
        while left:
            going = []
            for parcel in left:
                await ledger.publish(parcel, publisher, guard=Unleased(), still_allowed=allowed)
                end = await ledger.resolve_by_readback(parcel, publisher)
                ends[parcel.pub_key] = end
                if end.sendable or (end.permit is not None and end.status in ("publishing", "unknown")):
                    going.append(parcel)
            left = going
            await clock.sleep(timedelta(seconds=0.1))
    return ends


async def history(records_url: str, posts: int) -> dict[str, list[LedgerStep]]:
    """Every step of every publication, by pub_key."""
    async with open_records(records_url, clock=SystemClock()) as store:
        records = store.for_brand("eesystem")
        return {
            parcel.pub_key: await records.list_rows(LedgerStep, pub_key=parcel.pub_key) for parcel in parcels(posts)
        }


def main() -> None:
    records_url, platform_url, posts, rounds, seed = sys.argv[1], sys.argv[2], *(int(given) for given in sys.argv[3:6])
    configure_logging(level="ERROR")
    killed = kill_rounds(
        lambda number: asyncio.run(publish_all(records_url, platform_url, posts, seed + number)),
        children=3,
        rounds=rounds,
        longest_s=0.15,
        seed=seed,
    )
    print(killed)


if __name__ == "__main__":
    main()
