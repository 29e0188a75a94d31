"""Cutting a stream of images into files of about one size."""

import itertools
from collections.abc import Iterator

from robustbench_aigi.data.plusplus.reader import Item


def cut_into_shards(items: Iterator[Item], shard_bytes: int) -> Iterator[Iterator[Item]]:
    """Cut a stream into consecutive ones; each must be used up before the next is asked for.

    Args:
        items: images.
        shard_bytes: about how many bytes of images each stream has.
    """
    total = 0

    def shard_number(item: Item) -> int:
        nonlocal total
        start = total
        total += len(item.content)
        return start // shard_bytes

    for _, group in itertools.groupby(items, shard_number):
        yield group
