"""The decorator, on every kind of function."""

import asyncio
import inspect

from shm_limit import RateLimit


def test_functions_and_methods_keep_name_signature_and_docs(limit):
    api = limit("1000000/s")

    @api
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    class Client:
        @api
        def get(self, path):
            return (self, path)

    client = Client()
    assert add(1) == 3 and add.__name__ == "add" and add.__doc__ == "Adds."
    assert str(inspect.signature(add)) == "(a: int, b: int = 2) -> int"
    assert client.get("/") == (client, "/")
    assert api.stats()["admitted"] == 2


def test_a_permit_is_held_until_the_call_ends(limit):
    api = limit(permits=1)

    @api
    def held():
        return bool(api.try_acquire())

    @api
    def fails():
        raise KeyError

    assert held() is False
    try:
        fails()
    except KeyError:
        pass
    assert api.try_acquire()


def test_generators_pass_values_and_exceptions(limit):
    api = limit(permits=1)

    @api
    def numbers():
        got = yield 1
        try:
            yield got
        except KeyError:
            yield 3
        return 4

    generator = numbers()
    assert (next(generator), generator.send(2), generator.throw(KeyError)) == (1, 2, 3)
    assert not api.try_acquire()
    try:
        next(generator)
    except StopIteration as end:
        assert end.value == 4
    assert api.try_acquire()


def test_coroutines_and_asynchronous_generators(limit):
    api = limit(permits=1)

    @api
    async def held():
        return bool(api.try_acquire())

    @api
    async def numbers():
        got = yield 1
        try:
            yield got
        except KeyError:
            yield 3

    async def main():
        assert await held() is False
        generator = numbers()
        assert await generator.__anext__() == 1 and await generator.asend(2) == 2
        assert await generator.athrow(KeyError) == 3
        assert not api.try_acquire()
        await generator.aclose()
        assert api.try_acquire()

    assert inspect.iscoroutinefunction(held) and inspect.isasyncgenfunction(numbers)
    asyncio.run(main())


def test_a_private_limiter_decorates(tmp_path):
    limit = RateLimit(1000, per=1, burst=10)
    assert [limit(lambda: i)() for i in range(3)] == [0, 1, 2]
