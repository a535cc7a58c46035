"""The limits that are tried, and how much is asked of them."""

from dataclasses import dataclass

# So many parts of a bucket make a report due: `fleet::replica::due::BUCKET_PARTS`.
BUCKET_PARTS = 20


@dataclass(frozen=True)
class Limit:
    """A bucket of so many tokens, of which so many come back in a second."""

    tokens: int
    per_second: int

    @property
    def token_s(self) -> float:
        """The time in which one token comes."""
        return 1 / self.per_second

    @property
    def fill_s(self) -> float:
        """The time in which an empty bucket fills."""
        return self.tokens / self.per_second

    @property
    def unreported_max(self) -> int:
        """What a node may keep without reporting it at once."""
        return max(1, self.tokens // BUCKET_PARTS)

    def bucket(self) -> dict:
        """As Envoy's configuration and ours write it."""
        return {"max_tokens": self.tokens, "tokens_per_fill": self.per_second, "fill_interval": "1s"}

    def __str__(self) -> str:
        return f"b={self.tokens} r={self.per_second}/s"


@dataclass(frozen=True)
class Case:
    """A limit, and how many requests a second the patterns make of it."""

    name: str
    limit: Limit
    offered: int


SMALL = Case("small", Limit(100, 10), 200)
LARGE = Case("large", Limit(1000, 500), 3000)
CASES = {case.name: case for case in (SMALL, LARGE)}
# Of the pattern with ten thousand users alone.
MANY = Case("many", Limit(10, 1), 2000)
