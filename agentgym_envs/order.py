"""A permutation that is never written out: where its n-th place goes, in constant memory."""

_MASK = (1 << 64) - 1
_ROUNDS = 6


class Permutation:
    """A permutation of range(count), chosen by a key below 2**63.

    A Feistel network over the next even number of bits, walked until it lands below `count`
    (cycle walking), so that the places of a few or of ten million tasks cost the same: nothing.
    """

    __slots__ = ("count", "half", "key")

    def __init__(self, count: int, key: int) -> None:
        self.count, self.key = count, key
        self.half = max(1, ((count - 1).bit_length() + 1) // 2)

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self.count:
            raise IndexError(f"place {place} of {self.count}")
        low_bits = (1 << self.half) - 1
        value = place
        while True:
            left, right = value >> self.half, value & low_bits
            for turn in range(_ROUNDS):
                left, right = right, left ^ (_mixed(right, turn, self.key) & low_bits)
            value = left << self.half | right
            if value < self.count:
                return value


def _mixed(value: int, turn: int, key: int) -> int:
    """Sixty-four well mixed bits (the finaliser of splitmix64)."""
    mixed = (key + (value << 3 | turn) * 0x9E3779B97F4A7C15) & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31
