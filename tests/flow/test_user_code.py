"""The one thread in which the user's code runs."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from bulkup.flow.user_code import in_user_thread


async def seven() -> int:
    async with asyncio.timeout(5):
        return await in_user_thread(lambda: 7)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_has_a_thread_of_its_own() -> None:
    """A fork has none of its parent's threads: whoever waited for one would wait for ever."""
    assert asyncio.run(seven()) == 7
    child = os.fork()
    if not child:
        signal.alarm(10)
        code = 1
        try:
            code = 0 if asyncio.run(seven()) == 7 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
