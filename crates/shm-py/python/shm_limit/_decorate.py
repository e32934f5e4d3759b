"""A limiter as a decorator."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

if TYPE_CHECKING:
    from ._rate_limit import RateLimit

Function = TypeVar("Function", bound=Callable[..., Any])


def decorate(limit: RateLimit, function: Function) -> Function:
    """The function behind the limiter: each call waits for its turn, and holds a permit until it ends, if the limiter has some.

    For a function, a method, a coroutine function, a generator function or an asynchronous one; of a generator, the turn is taken when
    it starts. Name, signature and documentation are those of the function.
    """
    if inspect.isasyncgenfunction(function):
        limited = _async_generator(limit, function)
    elif inspect.iscoroutinefunction(function):
        limited = _coroutine(limit, function)
    elif inspect.isgeneratorfunction(function):
        limited = _generator(limit, function)
    else:
        limited = _function(limit, function)
    return cast(Function, functools.wraps(function)(limited))


def _function(limit: RateLimit, function: Callable[..., Any]) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Any:
        with limit:
            return function(*args, **kwargs)

    return limited


def _generator(limit: RateLimit, function: Callable[..., Any]) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Any:
        with limit:
            return (yield from function(*args, **kwargs))

    return limited


def _coroutine(limit: RateLimit, function: Callable[..., Any]) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with limit:
            return await function(*args, **kwargs)

    return limited


def _async_generator(limit: RateLimit, function: Callable[..., Any]) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with limit:
            generator = function(*args, **kwargs)
            try:
                value = await generator.__anext__()
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise
                    except BaseException as raised:
                        value = await generator.athrow(raised)
                    else:
                        value = await generator.asend(sent)
            except StopAsyncIteration:
                return
            finally:
                await generator.aclose()

    return limited
