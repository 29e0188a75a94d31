"""Cutting a stream of images into files of about one size."""

import itertools
from collections.abc import Iterator

from robustbench_aigi.data.plusplus.reader import Item


def shards(items: Iterator[Item], most: int) -> Iterator[Iterator[Item]]:
    """Cut a stream into consecutive ones of about ``most`` bytes; each must be used up before the
    next is asked for.
    """
    begun = 0

    def shard(item: Item) -> int:
        nonlocal begun
        begun += len(item.content)
        return (begun - len(item.content)) // most

    for _, group in itertools.groupby(items, shard):
        yield group
