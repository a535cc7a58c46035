"""What somebody with write access, or an eviction, does to single keys in Redis.

Each step is one transaction, as those who publish must not find a key between two states of it.
"""

from chaos.world import STATE, World

_DIGEST = "{portcullis}:digest"
# How many users are hit at a time.
_USERS = 12


async def delete_states(world: World) -> None:
    await world.client.unlink(*[_state(user) for user in await _some(world)])


async def spoil_states(world: World) -> None:
    """A string, a set, a list or a stream in the place of a hash."""
    async with world.client.pipeline(transaction=True) as pipeline:
        for number, user in enumerate(await _some(world)):
            key = _state(user)
            pipeline.delete(key)
            match number % 4:
                case 0:
                    pipeline.set(key, "x")
                case 1:
                    pipeline.sadd(key, "x")
                case 2:
                    pipeline.rpush(key, "x")
                case _:
                    pipeline.xadd(key, {"x": "y"})
        await pipeline.execute()


async def rename_states(world: World) -> None:
    """To names that nobody looks at."""
    async with world.client.pipeline(transaction=True) as pipeline:
        for user in await _some(world):
            pipeline.rename(_state(user), f"{{portcullis}}:gone:{user}")
        await pipeline.execute()


async def mix_states(world: World) -> None:
    """One user's state in the place of another's: the one has none, the other the wrong one."""
    users = await _some(world)
    async with world.client.pipeline(transaction=True) as pipeline:
        for user, other in zip(users[::2], users[1::2], strict=True):
            pipeline.rename(_state(user), _state(other))
        await pipeline.execute()


async def delete_digest(world: World) -> None:
    await world.client.delete(_DIGEST)


async def spoil_digest(world: World) -> None:
    await world.client.set(_DIGEST, "x")


async def _some(world: World) -> list[str]:
    """Users whose state is there, an even number of them."""
    subjects = sorted(await world.client.smembers("{portcullis}:subjects"))
    users = [subject.decode().removeprefix("user:") for subject in subjects]
    chosen = world.random.sample(users, min(_USERS, len(users) // 2 * 2))
    async with world.client.pipeline(transaction=False) as pipeline:
        for user in chosen:
            pipeline.exists(_state(user))
        there = await pipeline.execute()
    return [user for user, is_there in zip(chosen, there, strict=True) if is_there]


def _state(user: str) -> str:
    return f"{STATE}{user}"
