"""Which replica has the beginning of a prompt in its cache, as far as we have sent it there ourselves.

A prompt's text is cut into blocks of BLOCK bytes; each block's hash is chained to those before it (xxh3; the
chain begins with the salt of the caller), so equal hashes mean equal beginnings. Per replica the blocks that
it was sent are kept, least recently used first out, as engines do; of one prompt the last block goes first.

    blocks_of(text, salt)    the chain                                   about 0.2 us a block
    match(blocks)            replica -> how many of them it has, but for those that have none
    add(replica, blocks)     it is being sent them

Bounded: CAPACITY blocks for each replica, MOST_BLOCKS together. How much an engine really holds nobody needs
to say: who finds that what was predicted is gone again has thought too much of it (`judge`).
"""

from collections import OrderedDict
from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

BLOCK = 1_024  # bytes of text, some 256 tokens
BYTES_PER_TOKEN = 4
CAPACITY = 8_192  # blocks of one replica at most: two million tokens
LEAST_CAPACITY = 64.0
SHRINKAGE, GROWTH = 0.98, 1.002  # of what a replica is thought to hold, after each prediction
MOST_BLOCKS = 160_000  # of all replicas: 52 MB
LONGEST = 2_048  # blocks of a prompt that are looked at: 2 MB of text


def salt_of(name: str) -> int:
    """Where the chain of a tenant begins: nobody finds out by timing what others have asked."""
    return int(xxh3_64_intdigest(name.encode()))


def blocks_of(text: bytes, salt: int) -> list[int]:
    """The whole blocks of `text`."""
    out: list[int] = []
    chained = salt
    for at in range(0, min(len(text), LONGEST * BLOCK) - BLOCK + 1, BLOCK):
        chained = xxh3_64_intdigest(text[at : at + BLOCK], chained)
        out.append(chained)
    return out


class PrefixIndex:
    """Replicas are named by whoever adds to them; each has a bit in the masks of the blocks that it holds."""

    def __init__(self, *, capacity: int = CAPACITY, most_blocks: int = MOST_BLOCKS) -> None:
        self._capacity = capacity
        self._most = most_blocks
        self._holders: dict[int, int] = {}  # block -> mask of replicas
        self._kept: dict[str, OrderedDict[int, None]] = {}  # replica -> its blocks, the oldest first
        self._bits: dict[str, int] = {}
        self._names: dict[int, str] = {}  # bit -> replica
        self._own: dict[str, float] = {}  # capacity, as it was learned
        self._seats: dict[str, str] = {}  # seat -> replica

    def __len__(self) -> int:
        """Blocks of all replicas together."""
        return sum(map(len, self._kept.values()))

    def match(self, blocks: Sequence[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        holders, names = self._holders, self._names
        mask = -1
        depth = 0
        for block in blocks:
            left = mask & holders.get(block, 0)
            if left != mask:
                if depth:
                    gone = mask & ~left
                    while gone:
                        bit = gone & -gone
                        found[names[bit]] = depth
                        gone ^= bit
                if not left:
                    return found
                mask = left
            depth += 1
        while depth and mask:
            bit = mask & -mask
            found[names[bit]] = depth
            mask ^= bit
        return found

    def add(self, replica: str, blocks: Sequence[int], *, seat: str = "") -> None:
        """`seat`: where there is one replica at a time; who was there before is no more, nor is its cache."""
        kept = self._kept.get(replica)
        if kept is None:
            kept = self._begin(replica, seat)
        bit, holders = self._bits[replica], self._holders
        for block in reversed(blocks):
            if block in kept:
                kept.move_to_end(block)
            else:
                kept[block] = None
                holders[block] = holders.get(block, 0) | bit
        most = min(self._own.get(replica, self._capacity), max(1, self._most // len(self._kept)))
        while len(kept) > most:
            self._let_go(kept.popitem(last=False)[0], bit)

    def judge(self, replica: str, *, was_right: bool) -> None:
        """Whether what was matched there was still in its cache: so the size of that cache is learned."""
        if replica not in self._kept:
            return
        own = self._own.get(replica, self._capacity)
        if was_right:
            self._own[replica] = min(self._capacity, own * GROWTH)
        else:
            self._own[replica] = max(LEAST_CAPACITY, min(own, len(self._kept[replica])) * SHRINKAGE)

    def _forget(self, replica: str) -> None:
        bit = self._bits.pop(replica)
        for block in self._kept.pop(replica):
            self._let_go(block, bit)
        del self._names[bit]
        self._own.pop(replica, None)

    def _begin(self, replica: str, seat: str) -> OrderedDict[int, None]:
        if seat:
            before, self._seats[seat] = self._seats.get(seat), replica
            if before in self._kept:
                self._forget(before)
        bit = 1
        while bit in self._names:
            bit <<= 1
        self._bits[replica], self._names[bit] = bit, replica
        kept = self._kept[replica] = OrderedDict()
        return kept

    def _let_go(self, block: int, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]
